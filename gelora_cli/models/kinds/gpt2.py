"""GPT-2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import DecoderKind, EncoderKind


@MODEL_KINDS.register
class Gpt2(DecoderKind):
    """GPT-2 (Radford et al., 2019): one linear for query, key and value, and a table of positions."""

    name = "gpt2"
    limit = EncoderKind.limit
    blocks = "h"
    linears: ClassVar[Mapping[str, str]] = {
        "qkv": "attn.c_attn",
        "output": "attn.c_proj",
        "up": "mlp.c_fc",
        "down": "mlp.c_proj",
    }

    def longest_input(self, config: Mapping[str, Any]) -> int | None:
        """Return the number of rows of the table of positions, which config.json may leave at its default."""
        rows = config.get("n_positions", config.get("max_position_embeddings", 1024))
        return rows if isinstance(rows, int) else None
