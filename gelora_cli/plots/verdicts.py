"""What a plan's verdict says of its gain: agreement of the plan against the difference from uniform ranks; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gelora_cli.allocation.stability import STABLE_AGREEMENT
from gelora_cli.plots.base import Picture
from gelora_cli.plots.inline import Marks
from gelora_cli.plots.style import INK, MIDDLE, as_written, figure_head, method_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gelora_cli.report.relations import PlanGain


def verdicts_picture(name: str, title: str, gains: Sequence[PlanGain], finding: str = "") -> Picture | None:
    """Draw a point for each task and method, named after the task, in the look of the method.

    Args:
        name: that of its files.
        title: the question.
        gains: what is drawn. None is drawn with fewer than two.
        finding: what a test says of them, for the caption.
    """
    if len(gains) < 2:
        return None
    figure, (axis,) = new_figure(height_inches=4.6, panels=(1,))
    axis.axhline(0, color=INK, linewidth=1, zorder=1)
    axis.axvline(STABLE_AGREEMENT, color=MIDDLE, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    marks = Marks()
    for gain in gains:
        _draw_gain(axis, gain, marks)
    axis.set(xlabel="agreement: share of the plan that other samples keep", ylabel="points above uniform ranks")
    least = min(gain.agreement for gain in gains)
    axis.set_xlim(min(least, STABLE_AGREEMENT) - 0.05, 1.06)
    axis.annotate(
        "stable from here",
        (STABLE_AGREEMENT, 1),
        (4, -3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        va="top",
        fontsize=8.5,
        color=INK,
    )
    for method in dict.fromkeys(gain.method for gain in gains):
        axis.plot([], [], label=method, markersize=7, **{**method_style(method), "linestyle": "none"})
    figure_head(figure, title, "a point for each task and method; bars: 95 % intervals", legend_of=axis)
    caption = (
        "Agreement of each plan against its difference from uniform ranks, a point for each task and method; bars: "
        f"95 % intervals. {finding}"
    ).strip()
    return Picture(name, title, caption, figure, marks.tips)


def _draw_gain(axis: Axes, gain: PlanGain, marks: Marks) -> None:
    """Draw a point with its interval, and the name of the task beside it."""
    widths = None
    interval = ""
    if gain.low is not None and gain.high is not None:
        widths = [[gain.gain - gain.low], [gain.high - gain.gain]]
        interval = f" ({gain.low:.2f} to {gain.high:.2f})"
    look = {**method_style(gain.method), "linestyle": "none", "markersize": 7, "elinewidth": 0.7}
    axis.errorbar([gain.agreement], [gain.gain], yerr=widths, **look)
    place = (gain.agreement, gain.gain)
    name = axis.annotate(gain.task, place, (6, 0), textcoords="offset points", fontsize=7.5, va="center")
    as_written([name])
    text = f"{gain.method} on {gain.task}: {gain.gain:+.2f} points{interval}, agreement {gain.agreement:.2f}"
    marks.add(axis, gain.agreement, gain.gain, text)
