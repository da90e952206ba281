"""ALBERT, whose blocks run several times each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import EncoderKind


@MODEL_KINDS.register
class Albert(EncoderKind):
    """ALBERT (Lan et al., 2020): a block is a group of shared weights, through which several passes go.

    Every released checkpoint has one group, so that all layers share one block and one rank.
    """

    name = "albert"
    blocks = "encoder.albert_layer_groups"
    linears: ClassVar[Mapping[str, str]] = {
        "query": "albert_layers.0.attention.query",
        "key": "albert_layers.0.attention.key",
        "value": "albert_layers.0.attention.value",
        "output": "albert_layers.0.attention.dense",
        "up": "albert_layers.0.ffn",
        "down": "albert_layers.0.ffn_output",
    }

    def passes(self, config: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
        """Return the passes of each group: pass i of L, from 0, goes through group `int(i / (L / groups))`.

        That is how `AlbertTransformer` of transformers chooses it.
        """
        layers, groups = int(config["num_hidden_layers"]), int(config["num_hidden_groups"])
        of_group: list[list[int]] = [[] for _ in range(groups)]
        for index in range(layers):
            of_group[int(index / (layers / groups))].append(index + 1)
        return tuple(map(tuple, of_group))

    def structure_problem(self, config: Mapping[str, Any]) -> str:
        """Return that groups hold several layers each, or that no pass goes through some of them."""
        inner = config.get("inner_group_num", 1)
        if inner != 1:
            return (
                f"inner_group_num={inner} in config.json, so that each group of shared weights holds {inner} "
                "different layers, which one rank would not fit. ALBERT with inner_group_num=1 is accepted, as all "
                "released checkpoints have it."
            )
        layers, groups = config.get("num_hidden_layers", 12), config.get("num_hidden_groups", 1)
        if layers is None or groups is None:
            return (
                "num_hidden_layers and num_hidden_groups in config.json can't be null; leave them out or give numbers."
            )
        if not 1 <= groups <= layers:
            return f"num_hidden_groups={groups} in config.json; from 1 to num_hidden_layers={layers} are accepted."
        return ""
