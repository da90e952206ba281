"""MPNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import EncoderKind


@MODEL_KINDS.register
class MPNet(EncoderKind):
    """MPNet (Song et al., 2020)."""

    name = "mpnet"
    blocks = "encoder.layer"
    linears: ClassVar[Mapping[str, str]] = {
        "query": "attention.attn.q",
        "key": "attention.attn.k",
        "value": "attention.attn.v",
        "output": "attention.attn.o",
        "up": "intermediate.dense",
        "down": "output.dense",
    }

    def longest_input(self, config: Mapping[str, Any]) -> int | None:
        """Return the number of rows of the table of positions without its first two.

        Positions start after id 1, whatever the padding token's id in config.json.
        """
        rows = super().longest_input(config)
        return None if rows is None else rows - 2
