"""The diagram of the critical difference: mean ranks of methods over tasks; no torch, readable in grey."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.plots.base import Picture
from gelora_cli.plots.inline import Marks
from gelora_cli.plots.names import EdgeName, name_at_edge
from gelora_cli.plots.style import DARK, GRID, INK, MIDDLE, figure_head, method_style, new_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from gelora_cli.report.ranking import Ranking

NAME_INCHES = 0.2
BAR_STEP, BARS = 0.09, 0.12
"""Between the bars of equal methods, and how far the first is from the left edge: shares of the panel's width."""
COLUMN = 0.86
"""Where the marks of the methods stand."""


def critical_difference_picture(name: str, title: str, ranking: Ranking) -> Picture | None:
    """Draw the mean ranks, and a bar over each set of methods that are not told apart.

    Demsar, JMLR 7 (2006), draws the ranks to the right; here they go down, so that names stand in lines below each
    other. None is drawn where no pair of methods exceeds the critical difference: one bar over all says nothing.
    """
    if not ranking.shown_pairs:
        return None
    ranks, critical = ranking.mean_ranks, ranking.critical_difference
    figure, (axis,) = new_figure(height_inches=1.6 + NAME_INCHES * len(ranks), panels=(1,))
    axis.set(xlim=(0, 1), ylim=(len(ranks) + 0.3, 0.7))  # 1, the best, at the top
    axis.set_ylabel("mean rank, 1 is the best")
    axis.set_xticks([])
    axis.spines["bottom"].set_visible(False)
    axis.grid(axis="y", color=GRID, linewidth=0.8)
    marks = Marks()
    names = []
    for method, rank in ranks.items():
        style = method_style(method)
        axis.plot([COLUMN], [rank], markersize=7, **{**style, "linestyle": "none"})
        axis.plot([COLUMN, 1.0], [rank, rank], color=MIDDLE, linewidth=0.6, zorder=1)
        marks.add(axis, COLUMN, rank, f"{method}: mean rank {rank:.2f} over {len(ranking.blocks)}")
        names.append(EdgeName(method, rank, style))
    for number, (best, worst) in enumerate(equal_sets(ranks, critical)):
        place = COLUMN - BARS - BAR_STEP * number
        axis.plot([place, place], [best - 0.05, worst + 0.05], color=DARK, linewidth=4, solid_capstyle="butt")
    _draw_scale(axis, critical)
    name_at_edge(axis, names)
    tasks = ", ".join(ranking.blocks)
    bar = f"a bar joins methods whose mean ranks differ by less than {critical:.2f}"
    figure_head(figure, title, f"{tasks}; {bar}")
    caption = f"Mean ranks over {tasks}; {bar}. {ranking.describe()}"
    return Picture(name, title, caption, figure, marks.tips)


def equal_sets(ranks: Mapping[str, float], critical: float) -> list[tuple[float, float]]:
    """Return the best and the worst mean rank of each largest set of methods that are not told apart."""
    ordered: Sequence[float] = sorted(ranks.values())
    sets: list[tuple[float, float]] = []
    for first, best in enumerate(ordered):
        worst = max(rank for rank in ordered[first:] if rank - best < critical)
        is_new = not sets or worst > sets[-1][1]
        if is_new and worst > best:
            sets.append((best, worst))
    return sets


def _draw_scale(axis: Axes, critical: float) -> None:
    """Draw how long the critical difference is, at the left edge."""
    axis.errorbar([0.12], [1 + critical / 2], yerr=[critical / 2], color=INK, capsize=5, linewidth=1.4)
    axis.text(0.145, 1 + critical / 2, f"critical difference\n{critical:.2f}", va="center", fontsize=9, color=INK)
