"""Before training: does every tensor of the adapter take part in the loss?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gelora_cli.core.errors import RunError
from gelora_cli.core.logs import LOGGER
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.data.splits import draw_rows
from gelora_cli.models.block_map import is_inside
from gelora_cli.models.recompute import recomputing
from gelora_cli.pipeline.session import Session

if TYPE_CHECKING:
    from gelora_cli.data.collate import Batch
    from gelora_cli.methods.base import AdaptedModel

PROBED_ROWS, BATCH_ROWS = 64, 8
"""Training rows that are looked at, at most and at a time. The first batch is nearly always enough."""
NAMED = 4
"""How many tensors the message names; the log has all of them."""


def check_gradients(session: Session, adapted: AdaptedModel, train: EncodedSplit) -> None:
    """Stop a run whose adapter, or whose head, would not train; change nothing (see `training.gradient_probe`).

    A tensor that the method added needs a gradient that is not exactly zero. Of the head, and of the model's own
    parameters that train (`full`, `bitfit`), only a missing gradient counts. Some have a gradient of zero by their
    nature, such as the bias of a question answering head (a softmax over positions is the same after a shift), or the
    embedding of a token that no text has. The model's own parameters that take no part in the loss are only warned of:
    a model may have some that its task does not use.

    Raises:
        RunError: naming the tensors without a gradient.
    """
    from gelora_cli.core.distributed import gather_objects
    from gelora_cli.methods.updates.checks import base_name
    from gelora_cli.training.gradient_probe import find_missing_gradients

    head_modules = session.loaded.map.head_modules

    def is_of_head(name: str) -> bool:
        return is_inside(base_name(name), head_modules)

    with recomputing(session.recomputed_blocks()):
        own = find_missing_gradients(
            adapted,
            _probe_batches(session, train),
            loss=session.loss,
            may_be_zero=lambda name: is_of_head(name) or not adapted.adds_tensors,
            autocast=session.accelerator.autocast,
        )
    # Of all processes, so that all of them stop with the same message.
    found = gather_objects(session.accelerator, own)
    missing = list(dict.fromkeys(name for names in found for name in names))
    if not missing:
        return
    method, count = session.config.method.name, len(adapted.trainable())
    unused = f"{len(missing)} of {count} tensors that should train have no gradient in a forward and backward pass"
    LOGGER.warning("%s: %s", unused, ", ".join(map(base_name, missing)))
    if not adapted.adds_tensors and not any(map(is_of_head, missing)):
        return
    names = ", ".join(base_name(name) for name in missing[:NAMED])
    more = f" and {len(missing) - NAMED} more (the log names all)" if len(missing) > NAMED else ""
    raise RunError(
        f"method={method}: {unused}, so nothing was trained: {names}{more}. Something computes these layers without "
        "calling them, such as a fused kernel that reads their weights: use the model without it, or another method."
    )


def _probe_batches(session: Session, train: EncodedSplit) -> Iterator[Batch]:
    """Yield small batches of training rows, the same ones in every run and in every process."""
    from gelora_cli.data.collate import collate

    rows = draw_rows(len(train), PROBED_ROWS, 0)
    # No more at once than training takes, which is known to need no more memory.
    size = min(BATCH_ROWS, session.config.train.micro_batch_size or BATCH_ROWS)
    for first in range(0, len(rows), size):
        batch_rows = rows[first : first + size]
        yield collate(train, batch_rows, session.pad_token_id, session.accelerator.device)
