"""DeBERTa, the first version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import EncoderKind
from gelora_cli.models.operations import RelativePositions

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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

    def prepare_model(self, model: PreTrainedModel) -> None:
        """Let its attention compute under autocast."""
        from gelora_cli.models.deberta_biases import cast_biases

        cast_biases(model)

    def longest_input(self, config: Mapping[str, Any]) -> int | None:
        """Return the number of rows of the table of positions; None if only relative positions are used."""
        return None if config.get("position_biased_input") is False else super().longest_input(config)

    def relative_positions(self, config: Mapping[str, Any]) -> RelativePositions | None:
        """Return the products of disentangled attention, with two rows for each distance between tokens of a batch."""
        if not config.get("relative_attention"):
            return None
        farthest = config.get("max_relative_positions", -1)
        farthest = farthest if farthest >= 1 else config["max_position_embeddings"]
        terms = config.get("pos_att_type") or ()
        return RelativePositions(
            rows=2 * farthest,
            content_to_position="c2p" in terms,
            position_to_content="p2c" in terms,
            shared=False,
            normalized=False,
            cut=True,
            biased=("query",),
        )
