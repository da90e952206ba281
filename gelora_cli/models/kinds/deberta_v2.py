"""DeBERTa v2 and v3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import EncoderKind
from gelora_cli.models.operations import RelativePositions


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

    def relative_positions(self, config: Mapping[str, Any]) -> RelativePositions | None:
        """Return the products of disentangled attention, with a table of two rows for each distance or bucket."""
        if not config.get("relative_attention"):
            return None
        farthest = config.get("max_relative_positions", -1)
        farthest = farthest if farthest >= 1 else config["max_position_embeddings"]
        buckets = config.get("position_buckets", -1)
        terms = config.get("pos_att_type") or ()
        return RelativePositions(
            rows=2 * (buckets if buckets > 0 else farthest),
            content_to_position="c2p" in terms,
            position_to_content="p2c" in terms,
            shared=bool(config.get("share_att_key")),
            normalized="layer_norm" in (config.get("norm_rel_ebd") or "none"),
        )
