"""DeBERTa v2 and v3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import EncoderKind


@MODEL_KINDS.register
class DebertaV2(EncoderKind):
    """DeBERTa v2 (He et al., 2021) and v3 (He et al., 2023), with relative positions."""

    name = "deberta-v2"
    blocks = "encoder.layer"
    linears: ClassVar[Mapping[str, str]] = {
        "query": "attention.self.query_proj",
        "key": "attention.self.key_proj",
        "value": "attention.self.value_proj",
        "output": "attention.output.dense",
        "up": "intermediate.dense",
        "down": "output.dense",
    }

    def longest_input(self, config: Mapping[str, Any]) -> int | None:
        """Return the number of rows of the table of positions; None if only relative positions are used."""
        return None if config.get("position_biased_input") is False else super().longest_input(config)
