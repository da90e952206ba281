"""`plans.png`: the rank of each block by allocator, a panel of cells per task, readable in grey."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gelora_cli.allocation.stability import NO_PREFERENCE, STABLE, UNSTABLE
from gelora_cli.plots.style import DPI, INK, WIDTH_INCHES, as_written, figure_head, name_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS_IN_A_ROW = 5
MOST_CELLS_WITH_NUMBERS = 36
"""Cells side by side, over all panels of a row, up to which a number fits into each."""
VERDICT_MARKS = {STABLE: ("●", "stable"), UNSTABLE: ("◐", "unstable"), NO_PREFERENCE: ("○", "no preference")}


@dataclass(frozen=True)
class Panel:
    """One task: the mean rank of each block's modules by method, and the verdicts on the methods that have one."""

    task: str
    ranks: dict[str, list[float]]
    verdicts: dict[str, str]


def plans_figure(panels: Sequence[Panel], subtitle: str) -> Figure:
    """Draw a cell for each block and method; the darker, the larger the block's share of the plan.

    One scale holds for all panels. A mark on the right of each row is the verdict on its plan.
    """
    from matplotlib.figure import Figure

    columns = min(len(panels), PANELS_IN_A_ROW)
    rows = math.ceil(len(panels) / columns)
    methods = list(dict.fromkeys(method for panel in panels for method in panel.ranks))
    height = rows * (0.24 * len(methods) + 0.5) + 0.75
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    highest = max(max(ranks) for panel in panels for ranks in panel.ranks.values())
    blocks = max(len(ranks) for panel in panels for ranks in panel.ranks.values())
    for index, axis in enumerate(axes.flat):
        if index < len(panels):
            numbers = columns * blocks <= MOST_CELLS_WITH_NUMBERS
            _draw_panel(axis, panels[index], methods, highest, blocks, numbers=numbers)
        else:
            axis.set_axis_off()
        if index % columns:
            axis.tick_params(labelleft=False)
    marks = ", ".join(f"{mark} {verdict}" for mark, verdict in VERDICT_MARKS.values())
    figure_head(figure, "Which rank where: one budget, every allocator", f"{subtitle}; {marks}")
    return figure


def _draw_panel(
    axis: Axes, panel: Panel, methods: Sequence[str], highest: float, blocks: int, *, numbers: bool
) -> None:
    """Draw one task; a method without a plan there has an empty row."""
    for row, method in enumerate(methods):
        ranks = panel.ranks.get(method, [])
        if not ranks:
            continue
        axis.imshow(
            [ranks],
            cmap="Blues",
            vmin=0,
            vmax=highest,
            aspect="auto",
            extent=(0.5, len(ranks) + 0.5, row + 0.5, row - 0.5),
        )
        for block, rank in enumerate(ranks, start=1):
            if numbers:
                color = "white" if rank > 0.55 * highest else INK
                axis.text(block, row, f"{rank:.0f}", ha="center", va="center", fontsize=7, color=color)
        mark, _ = VERDICT_MARKS.get(panel.verdicts.get(method, ""), ("", ""))
        axis.text(blocks + 1, row, mark, ha="center", va="center", fontsize=8, color=INK)
    axis.set(xlim=(0.5, blocks + 1.5), ylim=(len(methods) - 0.5, -0.5), xlabel="block")
    step = 1 if blocks <= 6 else math.ceil(blocks / 6)
    axis.set_xticks(range(1, blocks + 1, step))
    axis.set_yticks(range(len(methods)), methods)
    as_written(axis.get_yticklabels())
    axis.tick_params(length=0, labelsize=8)
    axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
    name_panel(axis, panel.task)
