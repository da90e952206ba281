"""EuroBERT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import RotaryEncoderKind, pad_with_end_token
from gelora_cli.models.kinds.llama import Llama

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@MODEL_KINDS.register
class EuroBert(RotaryEncoderKind):
    """EuroBERT (Boizard et al., 2025): Llama's modules and tokenizer, with attention to both sides."""

    name = "eurobert"
    blocks = Llama.blocks
    linears = Llama.linears

    def prepare_tokenizer(self, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
        """Let a tokenizer without a padding token pad with its end token; it has neither `CLS` nor `SEP`."""
        pad_with_end_token(tokenizer, source)

    def scores_every_token(self, config: Mapping[str, Any]) -> bool:
        """Return whether a text's scores are the mean of those of its tokens, as transformers has it by default."""
        return bool(config.get("classifier_pooling", "late") == "late")
