"""DeBERTa, the first version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import EncoderKind


@MODEL_KINDS.register
class Deberta(EncoderKind):
    """DeBERTa (He et al., 2021), with relative positions; query, key and value are one linear layer.

    Relative positions go through linear layers of their own, `pos_proj` and `pos_q_proj`, which aren't adapted.
    """

    name = "deberta"
    blocks = "encoder.layer"
    linears: ClassVar[Mapping[str, str]] = {
        "qkv": "attention.self.in_proj",
        "output": "attention.output.dense",
        "up": "intermediate.dense",
        "down": "output.dense",
    }

    def longest_input(self, config: Mapping[str, Any]) -> int | None:
        """Return the number of rows of the table of positions; None if only relative positions are used."""
        return None if config.get("position_biased_input") is False else super().longest_input(config)
