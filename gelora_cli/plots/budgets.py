"""`budgets.png`: what methods reach at several budgets; no torch."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gelora_cli.core.artifacts.budgets import BudgetStudy
from gelora_cli.plots.style import GRID, MIDDLE, figure_head, method_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def budgets_figure(study: BudgetStudy) -> Figure:
    """Draw the mean of each method over its parameters, with 95 % intervals.

    A ring marks the smallest budget that is not shown to be worse, and a line how far a value may lie below that of the
    largest one.
    """
    figure, (axis,) = new_figure(height_inches=4.4, panels=(1,))
    repeats: Counter[str] = Counter()
    answers = {answer.label: answer.budget for answer in study.answers}
    for label in dict.fromkeys(cell.label for cell in study.cells):
        cells = [cell for cell in study.cells if cell.label == label]
        style = method_style(cells[0].method, repeats[cells[0].method])
        repeats[cells[0].method] += 1
        params, means = [max(cell.params, 1) for cell in cells], [cell.mean for cell in cells]
        below = [cell.mean - (cell.mean if cell.low is None else cell.low) for cell in cells]
        above = [(cell.mean if cell.high is None else cell.high) - cell.mean for cell in cells]
        axis.errorbar(params, means, yerr=[below, above], label=label, markersize=7, capsize=3, linewidth=1.2, **style)
        chosen = [cell for cell in cells if cell.budget == answers[label]]  # none without an answer
        xs, ys = [max(cell.params, 1) for cell in chosen], [cell.mean for cell in chosen]
        axis.plot(xs, ys, "o", markersize=15, fillstyle="none", color=style["color"])
        axis.axhline(means[-1] - study.margin, color=style["color"], linewidth=0.8, linestyle=":", zorder=0)
    axis.set_xscale("log")
    ticks = sorted({max(cell.params, 1) for cell in study.cells if cell.label == study.cells[0].label})
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.minorticks_off()
    axis.tick_params(color=MIDDLE)
    axis.grid(axis="x", color=GRID, linewidth=0.8)
    axis.set_xlabel("parameters of the adapter, log scale")
    axis.set_ylabel(study.reported, parse_math=False)
    subtitle = (
        f"{study.task}, {study.model}; {len(study.seeds)} seeds, 95 % intervals; ring: smallest not shown worse; "
        f"dotted: largest less {study.margin:g}"
    )
    figure_head(figure, "How large a rank?", subtitle, legend_of=axis)
    return figure
