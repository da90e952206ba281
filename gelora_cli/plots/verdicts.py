"""What a plan's verdict says of its gain: agreement of the plan against the difference from uniform ranks; no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gelora_cli.allocation.stability import STABLE, STABLE_AGREEMENT
from gelora_cli.plots.base import Picture
from gelora_cli.plots.inline import Marks
from gelora_cli.plots.style import INK, MIDDLE, figure_head, method_style, name_panel, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gelora_cli.report.relations import PlanGain

COLUMNS = 2
EXPLANATION = (
    "a panel for each task, a point for each method; dashed: stable from here, unless another verdict stands there; "
    "bars: 95 % intervals"
)


def verdicts_picture(name: str, title: str, gains: Sequence[PlanGain], finding: str = "") -> Picture | None:
    """Draw a panel for each task, with a point for each method in its look.

    Args:
        name: that of its files.
        title: the question.
        gains: what is drawn. None is drawn with fewer than two.
        finding: what a test says of them, for the caption.
    """
    if len(gains) < 2:
        return None
    tasks = list(dict.fromkeys(gain.task for gain in gains))
    columns = min(COLUMNS, len(tasks))
    lines = math.ceil(len(tasks) / columns)
    figure, axes = new_figure(height_inches=1.2 + 2.4 * lines, panels=(1,) * lines, columns=columns)
    marks = Marks()
    least = min(STABLE_AGREEMENT, *(gain.agreement for gain in gains))
    for axis, task in zip(axes, tasks, strict=False):
        name_panel(axis, task)
        axis.axhline(0, color=INK, linewidth=1, zorder=1)
        axis.axvline(STABLE_AGREEMENT, color=MIDDLE, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axis.set_xlim(least - 0.02, 1.02)
        for gain in gains:
            if gain.task == task:
                _draw_gain(axis, gain, marks)
    for axis in axes[len(tasks) :]:
        axis.set_visible(False)
    for method in dict.fromkeys(gain.method for gain in gains):
        axes[0].plot([], [], label=method, markersize=7, **{**method_style(method), "linestyle": "none"})
    figure.supxlabel("agreement: share of the plan that other samples keep", fontsize=10)
    figure.supylabel("points above uniform ranks", fontsize=10)
    figure_head(figure, title, EXPLANATION, legend_of=axes[0])
    caption = f"Agreement of each plan against its difference from uniform ranks; {EXPLANATION}. {finding}".strip()
    return Picture(name, title, caption, figure, marks.tips)


def _draw_gain(axis: Axes, gain: PlanGain, marks: Marks) -> None:
    """Draw a point with its interval."""
    widths = None
    interval = ""
    if gain.low is not None and gain.high is not None:
        widths = [[gain.gain - gain.low], [gain.high - gain.gain]]
        interval = f" ({gain.low:.2f} to {gain.high:.2f})"
    look = {**method_style(gain.method), "linestyle": "none", "markersize": 7, "elinewidth": 0.7}
    axis.errorbar([gain.agreement], [gain.gain], yerr=widths, **look)
    if gain.verdict != STABLE and gain.agreement >= STABLE_AGREEMENT:
        place = (gain.agreement, gain.gain)
        axis.annotate(gain.verdict, place, (-6, 0), textcoords="offset points", ha="right", va="center", fontsize=8)
    text = f"{gain.method} on {gain.task}: {gain.gain:+.2f} points{interval}, agreement {gain.agreement:.2f}"
    text += f", {gain.verdict}"
    marks.add(axis, gain.agreement, gain.gain, text)
