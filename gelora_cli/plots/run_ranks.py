"""`ranks.png`: the rank of each block as planned; no torch, readable in grey."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.allocation.stability import verdict_word
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.messages import join_names
from gelora_cli.core.registries import METHODS, RUN_PICTURES
from gelora_cli.plots.base import RunData, RunPicture
from gelora_cli.plots.shared_blocks import name_passes
from gelora_cli.plots.style import (
    DARK,
    INK,
    LIGHT,
    MIDDLE,
    MOST_NUMBERS,
    LineStyle,
    head,
    new_figure,
    number_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNITS = {"triplet": "triplets at the start", "gate": "gates at the start", "direction": "rank before the cut"}
"""How the axis names what a plan counts, where its own word is not enough."""

MODULES = {"attention": "q, k, v, o", "all": "all linear layers"}


@RUN_PICTURES.register
class RanksPicture(RunPicture):
    """The plan that a run was made with."""

    name = "ranks"
    caption = "The rank of each block as planned, with what would change it."

    def draw(self, run: RunData) -> Figure | None:
        """Draw the plan, where it says a rank for each block; that of full fine-tuning does not."""
        if run.plan is None or not run.plan.blocks:
            return None
        return ranks_figure(run.plan)


def ranks_figure(plan: RankPlan) -> Figure:
    """Draw the rank of each block as a bar, with the growth of idim below where the plan follows it.

    Whiskers go from `rank_low` to `rank_high`; where an end of the interval can't be planned under the budget, a
    triangle stands instead. Thick lines go over the ranks that other samples give. The uniform plan is dashed. Diamonds
    are the rule's ranks before rounding and budget. Where the modules of a block differ, each has a dot.
    """
    growths = [row.growth for row in plan.blocks if row.growth is not None]
    figure, axes = new_figure(height_inches=5.6 if growths else 4.6, panels=(5, 2) if growths else (1,))
    blocks = [row.block for row in plan.blocks]
    edges = [blocks[0] - 0.5, *(block + 0.5 for block in blocks)]
    unit = UNITS.get(plan.unit, plan.unit)
    _draw_ranks(axes[0], plan, edges, unit)
    if growths:
        axes[0].tick_params(labelbottom=False)
        axes[1].bar(blocks, growths, color=MIDDLE, edgecolor=DARK, linewidth=0.8)
        axes[1].set(ylabel="growth of idim", ylim=(0, 1.12 * max([*growths, 1.0])))
    axes[-1].set_xlabel("block")
    for axis in axes:
        number_ticks(axis, blocks)
        axis.set_xlim(edges[0], edges[-1])
    name_passes(axes[-1], plan.blocks)
    head(axes[0], f"LoRA {unit} of each block" if unit == "rank" else f"Each block's {unit}", _describe_plan(plan))
    return figure


def _draw_ranks(axis: Axes, plan: RankPlan, edges: list[float], unit: str) -> None:
    """Draw the upper panel, whose bars lie between these edges."""
    blocks = [row.block for row in plan.blocks]
    largest = ", the largest of its modules" if any(row.module_ranks for row in plan.blocks) else ""
    axis.bar(blocks, plan.ranks, color=LIGHT, edgecolor=DARK, linewidth=0.8, label=f"{plan.method} {unit}{largest}")
    if plan.uniform_ranks:
        style: LineStyle = {"color": INK, "linestyle": "--", "linewidth": 1.4, "label": "uniform rank"}
        axis.stairs(plan.uniform_ranks, edges, baseline=None, **style)
    _draw_whiskers(axis, plan)
    real_ranks = [(row.block, row.real_rank) for row in plan.blocks if row.real_rank is not None]
    if real_ranks:
        diamond: LineStyle = {"markerfacecolor": "white", "markeredgecolor": INK, "linestyle": "none"}
        axis.plot(*zip(*real_ranks, strict=True), "D", markersize=5, label="the rule's real-valued rank", **diamond)
    module_ranks = []
    for row in plan.blocks:
        module_ranks += [(row.block, rank) for rank in row.module_ranks or ()]
    if module_ranks:
        axis.plot(*zip(*module_ranks, strict=True), "o", color=INK, markersize=4, linestyle="none", label="its modules")
    moved = _draw_moved_ranks(axis, plan)
    _write_numbers(axis, plan)
    highest = max([*plan.ranks, *plan.uniform_ranks, *(row.rank_high or 0 for row in plan.blocks), *moved, 1])
    axis.set(ylabel=unit, ylim=(0, 1.08 * highest))
    axis.locator_params(axis="y", integer=True)


def _draw_whiskers(axis: Axes, plan: RankPlan) -> None:
    """Draw the ranks that the ends of the idim's interval would give, where the plan has them."""
    ends = [(row.block, row.rank, row.rank_low, row.rank_high) for row in plan.blocks]
    if all(low is None and high is None for _, _, low, high in ends):
        return
    # A plan under a bound may give a block a rank outside of its own interval; a bar has no negative length.
    below = [0 if low is None else max(0, rank - low) for _, rank, low, _ in ends]
    above = [0 if high is None else max(0, high - rank) for _, rank, _, high in ends]
    style: LineStyle = {"ecolor": INK, "elinewidth": 1, "capsize": 3}
    label = "at the ends of the 95 % interval"
    axis.errorbar([row.block for row in plan.blocks], plan.ranks, yerr=[below, above], fmt="none", label=label, **style)
    missing = [(block, rank) for block, rank, low, high in ends if low is None or high is None]
    if missing:
        axis.plot(*zip(*missing, strict=True), "^", color=INK, markersize=6, label="an end is over the budget")


def _draw_moved_ranks(axis: Axes, plan: RankPlan) -> tuple[int, ...]:
    """Draw from where to where each block's rank moves with the sample, beside its bar's middle; return the highest."""
    stability = plan.stability
    if stability is None or stability.agreement is None or not stability.is_used:
        return ()
    if len(stability.lowest) != len(plan.blocks):  # modules have ranks of their own
        return ()
    if stability.lowest == stability.highest:  # nothing that a legend could be of
        return stability.highest
    places = [row.block + 0.2 for row in plan.blocks]
    axis.vlines(
        places, stability.lowest, stability.highest, color=INK, linewidth=3, alpha=0.45, label="with other texts"
    )
    return stability.highest


def _write_numbers(axis: Axes, plan: RankPlan) -> None:
    """Write the rank at the foot of each bar, where there is room."""
    if len(plan.blocks) > MOST_NUMBERS:
        return
    patch: LineStyle = {"boxstyle": "square,pad=0.1", "facecolor": LIGHT, "linewidth": 0}
    for row in plan.blocks:
        axis.annotate(
            str(row.rank), (row.block, 0), (0, 4), textcoords="offset points", ha="center", fontsize=9, bbox=patch
        )


def _modules_text(plan: RankPlan) -> str:
    """Return which linears are adapted; a fused projection is named as the one matrix that it is."""
    text = MODULES.get(plan.modules, plan.modules)
    if "qkv" in plan.fused_roles and plan.modules == "attention":
        return "qkv (one matrix), o"
    fused = join_names(role.replace("_", "+") for role in plan.fused_roles)
    return f"{text} ({fused} in one matrix)" if fused else text


def _describe_plan(plan: RankPlan) -> str:
    """Return method, budget, parameters, modules and the verdict, as the subtitle says them."""
    position = METHODS.get(plan.method).position if plan.method in METHODS else ""
    modules = position or f"on {_modules_text(plan)}"
    params = f"{plan.adapter_params:,}"
    if plan.budget_params is not None:
        params += f" of {plan.budget_params:,}"
    variant = "" if plan.variant == "lora" else f" {plan.variant}"
    text = f"{plan.method}{variant}, budget {plan.budget}, {params} parameters {modules}"
    if plan.stability is None:
        return text
    word = verdict_word(plan.stability)
    return f"{text}, {word}" if plan.stability.is_used else f"{text}, uniform since {word}"
