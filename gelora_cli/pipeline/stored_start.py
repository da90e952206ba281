"""How far earlier runs were from what this run starts from, where they stored their weights in another type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.core.logs import LOGGER
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.data.splits import draw_rows
from gelora_cli.pipeline.lineage import stored_ancestors
from gelora_cli.pipeline.session import Session

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

EXAMPLES = 8
"""Training rows whose hidden states are compared: models in float32 may be large, and run on the CPU here."""


def start_differences(session: Session, split: EncodedSplit) -> dict[str, float]:
    """Return how far each earlier run with other weights than float32 was from what is merged for this run.

        sqrt(sum |h_run - h_merged|^2 / sum |h_run|^2)

    over the last hidden states h (D,) of all tokens of a few training rows, without autocast [ours]. It is the rounding
    of the weights, since merging in float32 adds nothing that could be seen beside it.

    Args:
        session: of this run.
        split: its training rows.

    Returns:
        The difference by the name of the earlier run's directory.
    """
    from gelora_cli.data.collate import collate

    inputs, device, pad = session.inputs, session.accelerator.device, session.pad_token_id
    rows = draw_rows(len(split), EXAMPLES, 0)
    differences: dict[str, float] = {}
    for ancestor, trained, merged in stored_ancestors(inputs.model, inputs.ancestors, device):
        batch = collate(split, rows, pad, device).inputs
        mask = batch["attention_mask"].bool().cpu()  # (B, T)
        before, after = (_last_hidden(model, batch)[mask] for model in (trained, merged))  # (tokens, D)
        difference = float((before - after).norm() / before.norm())
        differences[ancestor.directory.name] = difference
        LOGGER.warning(
            "init_from: %s trained on weights with model.dtype=%s, and its adapter is merged into weights in float32: "
            "last hidden states differ by %.2g of their size (%d rows)",
            ancestor.directory,
            ancestor.config.model.dtype,
            difference,
            len(rows),
        )
    return differences


def _last_hidden(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the last hidden states of a model on its device, (B, T, D) float32 on the CPU."""
    import torch

    with torch.no_grad():
        given = {name: tensor.to(model.device) for name, tensor in inputs.items()}
        hidden: torch.Tensor = model.base_model(**given).last_hidden_state
    return hidden.float().cpu()
