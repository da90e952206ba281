"""Pictures of one run: the idim profile and the ranks; no torch, readable in grey."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gelora_cli.allocation.layer_checks import weak_layers
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.plots.style import (
    DARK,
    INK,
    LIGHT,
    MIDDLE,
    MOST_NUMBERS,
    end_of,
    head,
    new_figure,
    number_ticks,
    write_figure,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNITS = {
    "rank": "rank",
    "triplet": "triplets at the start",
    "gate": "gates at the start",
    "bottleneck": "bottleneck",
}
PLACES = {"houlsby": "behind attention and feed-forward", "pfeiffer": "behind feed-forward"}
WEAK_MARKS = {
    "constant": ("X", "constant, so 0"),
    "mostly duplicates": ("P", "mostly duplicates"),
    "fewer points": ("v", "far fewer points than beside it"),
}
MODULES = {"attention": "q, k, v, o", "all": "all linear layers"}


def plot_profile(profile: IdProfile, path: Path) -> None:
    """Write the idim profile as a PNG, 1200 pixels wide, whole or not at all; equal profiles give equal bytes."""
    write_figure(profile_figure(profile), path)


def plot_ranks(plan: RankPlan, path: Path) -> None:
    """Write the plan as a PNG, 1200 pixels wide, whole or not at all; equal plans give equal bytes."""
    write_figure(ranks_figure(plan), path)


def profile_figure(profile: IdProfile) -> Figure:
    """Idim per layer with its 95 % interval, and the means over the disjoint parts at N/2 and N/4 where there are."""
    figure, (axis,) = new_figure(height_inches=4.6, panels=(1,))
    layers, idims = [row.layer for row in profile.layers], [row.idim for row in profile.layers]
    low, high = [row.low for row in profile.layers], [row.high for row in profile.layers]
    axis.plot(layers, idims, color=DARK, marker="o", markersize=5, label="idim at N", clip_on=False)
    axis.fill_between(layers, low, high, color=LIGHT, alpha=0.5, linewidth=0, label="95 % interval")
    axis.vlines(layers, low, high, color=DARK, linewidth=1)
    _part_means(axis, layers, [row.half for row in profile.layers], "s", "mean at N/2")
    _part_means(axis, layers, [row.quarter for row in profile.layers], "^", "mean at N/4")
    _weak_marks(axis, profile)
    axis.set_xlabel("layer (0 = input of block 1, i = output of block i)")
    axis.set_ylabel("intrinsic dimension")
    parts = [value for row in profile.layers for value in (row.half, row.quarter) if value is not None]
    axis.set_ylim(0, 1.08 * max([*high, *idims, *parts, 1.0]))
    number_ticks(axis, layers)
    origin = f"{profile.task}, {end_of(profile.model)}, N = {profile.examples_used:,} examples"
    head(axis, "Intrinsic dimension of the hidden states (TwoNN)", origin)
    return figure


def _weak_marks(axis: Axes, profile: IdProfile) -> None:
    """Mark the layers whose idim says little of the task, a symbol per reason."""
    weak = weak_layers(profile.layers)
    for mark, (symbol, label) in WEAK_MARKS.items():
        marked = [found.layer for found in weak if found.mark == mark]
        idims = [row.idim for row in profile.layers if row.layer in marked]
        if marked:
            style: dict[str, Any] = {"linestyle": "none", "color": INK, "markersize": 9, "clip_on": False, "zorder": 4}
            axis.plot(marked, idims, marker=symbol, label=label, **style)


def ranks_figure(plan: RankPlan) -> Figure:
    """Rank per block as bars, whiskers from `rank_low` to `rank_high`, the uniform plan dashed; growth of idim below.

    Diamonds are the rule's ranks before rounding and budget. An end of the interval that can't be planned under the
    budget has no whisker, and a triangle instead. A plan that does not look at the profile has bars alone; where the
    modules of a block differ, a dot each.
    """
    growths = [row.growth for row in plan.blocks if row.growth is not None]
    figure, axes = new_figure(height_inches=5.6 if growths else 4.6, panels=(5, 2) if growths else (1,))
    top, blocks = axes[0], [row.block for row in plan.blocks]
    edges = [blocks[0] - 0.5, *(block + 0.5 for block in blocks)]
    unit = UNITS[plan.unit]
    largest = ", the largest of its modules" if any(row.module_ranks for row in plan.blocks) else ""
    top.bar(blocks, plan.ranks, color=LIGHT, edgecolor=DARK, linewidth=0.8, label=f"{plan.method} {unit}{largest}")
    if plan.uniform_ranks:
        style: dict[str, Any] = {"color": INK, "linestyle": "--", "linewidth": 1.4, "label": "uniform rank"}
        top.stairs(plan.uniform_ranks, edges, baseline=None, **style)
    _whiskers(top, plan)
    _real_ranks(top, plan)
    _module_dots(top, plan)
    _numbers(top, plan)
    highest = max([*plan.ranks, *plan.uniform_ranks, *(row.rank_high or 0 for row in plan.blocks), 1])
    top.set(ylabel=unit, ylim=(0, 1.08 * highest))
    top.locator_params(axis="y", integer=True)
    if growths:
        top.tick_params(labelbottom=False)
        axes[1].bar(blocks, growths, color=MIDDLE, edgecolor=DARK, linewidth=0.8)
        axes[1].set(ylabel="growth of idim", ylim=(0, 1.12 * max([*growths, 1.0])))
    axes[-1].set_xlabel("block")
    for axis in axes:
        number_ticks(axis, blocks)
        axis.set_xlim(edges[0], edges[-1])
    head(top, f"LoRA {unit} of each block" if unit == "rank" else f"Each block's {unit}", _plan_text(plan))
    return figure


def _module_dots(axis: Axes, plan: RankPlan) -> None:
    dots = [(row.block, rank) for row in plan.blocks for rank in row.module_ranks or ()]
    if dots:
        axis.plot(*zip(*dots, strict=True), "o", color=INK, markersize=4, linestyle="none", label="its modules")


def _real_ranks(axis: Axes, plan: RankPlan) -> None:
    reals = [(row.block, row.real_rank) for row in plan.blocks if row.real_rank is not None]
    if reals:
        style: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": INK, "linestyle": "none"}
        axis.plot(*zip(*reals, strict=True), "D", markersize=5, label="the rule's real-valued rank", **style)


def _whiskers(axis: Axes, plan: RankPlan) -> None:
    ends = [(row.block, row.rank, row.rank_low, row.rank_high) for row in plan.blocks]
    if all(low is None and high is None for _, _, low, high in ends):
        return
    below = [0 if low is None else max(0, rank - low) for _, rank, low, _ in ends]
    above = [0 if high is None else max(0, high - rank) for _, rank, _, high in ends]
    style: dict[str, Any] = {"ecolor": INK, "elinewidth": 1, "capsize": 3}
    label = "at the ends of the 95 % interval"
    axis.errorbar([row.block for row in plan.blocks], plan.ranks, yerr=[below, above], fmt="none", label=label, **style)
    missing = [(block, rank) for block, rank, low, high in ends if low is None or high is None]
    if missing:
        axis.plot(*zip(*missing, strict=True), "^", color=INK, markersize=6, label="an end is over the budget")


def _numbers(axis: Axes, plan: RankPlan) -> None:
    """The rank in each bar's foot, where there is room."""
    if len(plan.blocks) > MOST_NUMBERS:
        return
    patch = {"boxstyle": "square,pad=0.1", "facecolor": LIGHT, "linewidth": 0}
    for row in plan.blocks:
        axis.annotate(
            str(row.rank), (row.block, 0), (0, 4), textcoords="offset points", ha="center", fontsize=9, bbox=patch
        )


def _plan_text(plan: RankPlan) -> str:
    modules = PLACES.get(plan.method) or f"on {MODULES.get(plan.modules, plan.modules)}"
    used = f"{plan.adapter_params:,}" + (f" of {plan.budget_params:,}" if plan.budget_params is not None else "")
    return f"{plan.method}, budget {plan.budget}, {used} parameters {modules}"


def _part_means(axis: Axes, layers: Sequence[int], means: Sequence[float | None], marker: str, label: str) -> None:
    kept = [(layer, mean) for layer, mean in zip(layers, means, strict=True) if mean is not None]
    if kept:
        (line,) = axis.plot(*zip(*kept, strict=True), linestyle="none", marker=marker, markersize=5, label=label)
        line.set(markerfacecolor="white", markeredgecolor=MIDDLE)
