"""Which layers belong to which block, in pictures of models whose blocks run several times; no torch."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from gelora_cli.allocation.structure import layers_text
from gelora_cli.plots.style import DARK, INK

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes

    from gelora_cli.core.artifacts.model_map import ModelMap
    from gelora_cli.core.artifacts.plan import BlockRank

FEW_BLOCKS = 8
"""Blocks up to which there is room for their layers below their numbers."""


def name_passes(axis: Axes, rows: Sequence[BlockRank]) -> None:
    """Put the layers that a shared block produces below its number on the axis of blocks."""
    if not any(row.passes for row in rows):
        return
    if len(rows) > FEW_BLOCKS:
        axis.set_xlabel(f"{axis.get_xlabel()} (each produces several layers)")
        return
    axis.set_xticks([row.block for row in rows], [f"{row.block}\n{layers_text(row.passes)}" for row in rows])


def draw_block_spans(axis: Axes, model_map: ModelMap) -> None:
    """Separate the layers of different shared blocks by lines, and name the blocks at the top of the panel."""
    if not model_map.shares_blocks:
        return
    first = 1
    for index, passes in itertools.groupby(block.index for block in model_map.layers):
        last = first + len(list(passes)) - 1
        axis.axvline(first - 0.5, color=DARK, linestyle=":", linewidth=1)
        axis.annotate(
            f"block {index}",
            ((first + last) / 2, 1),
            (0, -3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=9,
            color=INK,
        )
        first = last + 1


def layer_axis_label(model_maps: Iterable[ModelMap]) -> str:
    """Return what the axis of layers says, where a profile or several are drawn."""
    if any(model_map.shares_blocks for model_map in model_maps):
        return "layer (0 = input of the first block, i = output of the i-th pass through a block)"
    return "layer (0 = input of block 1, i = output of block i)"
