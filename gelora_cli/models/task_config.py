"""The configuration of a task's model: that of the pretrained one, with head, dropout and padding token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.core.errors import GeloraError
from gelora_cli.models.head_checks import check_head
from gelora_cli.models.heads import HeadSpec
from gelora_cli.models.kinds.base import is_causal
from gelora_cli.models.locate import ResolvedModel
from gelora_cli.models.pretrained import read_config
from gelora_cli.models.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def task_config(resolved: ResolvedModel, head: HeadSpec, dropout: float | None) -> PreTrainedConfig:
    """Return the configuration with the task's head and dropout, and with a padding token if it has none.

    Raises:
        GeloraError: quantized weights, a head that the model can't have, no probability, or a padding token beyond the
            embeddings.
    """
    config = read_config(resolved)
    check_head(resolved, head)
    head.configure(config)
    # A decoder caches keys and values for generation, which would only take memory here.
    if hasattr(config, "use_cache"):
        config.use_cache = False
    # A decoder's class looks for the last token that is no padding, so it must know the padding token.
    if is_causal(config.to_dict()) or config.pad_token_id is None:
        config.pad_token_id = load_tokenizer(resolved, config.model_type).pad_token_id
    pad = config.pad_token_id
    rows = getattr(config, "vocab_size", None)
    # Building the model would fail on such a token without naming it. Negative ids count from the end, as torch's
    # embeddings have it.
    if isinstance(pad, int) and isinstance(rows, int) and not -rows <= pad < rows:
        raise GeloraError(
            f"pad_token_id={pad} in config.json of {resolved.source}: the model has embeddings for ids 0 to "
            f"{rows - 1}. Set the id of its padding token there."
        )
    if dropout is not None:
        _set_dropout(config, dropout)
    return config


def _set_dropout(config: PreTrainedConfig, probability: float) -> None:
    """Set every dropout probability of the configuration, also those that are None (they stand for another one)."""
    if not 0 <= probability < 1:
        raise GeloraError(f"model.dropout={probability}: a probability from 0 to below 1 is accepted.")
    for name, value in config.to_dict().items():
        # The type excludes truth values and texts that have "dropout" in their names.
        if ("dropout" in name or name.endswith("pdrop")) and (value is None or type(value) in (int, float)):
            setattr(config, name, probability)
