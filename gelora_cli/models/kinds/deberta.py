"""DeBERTa, the first version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.deberta_v2 import DebertaV2
from gelora_cli.models.operations import RelativePositions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LATER_SETTINGS = {"position_buckets": -1, "share_att_key": False, "norm_rel_ebd": "none"}
"""What the second version added to the configuration, at the values of the first."""


@MODEL_KINDS.register
class Deberta(DebertaV2):
    """DeBERTa (He et al., 2021), with relative positions; query, key and value are one linear layer.

    Relative positions go through linear layers of their own, `pos_proj` and `pos_q_proj`, which aren't adapted.
    """

    name = "deberta"
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

    def relative_positions(self, config: Mapping[str, Any]) -> RelativePositions | None:
        """Return the products of disentangled attention, with two rows for each distance between tokens of a batch."""
        products = super().relative_positions({**config, **LATER_SETTINGS})
        return products and replace(products, cut=True, biased=("query",))
