"""Differences of methods with their intervals, over tasks and on each, for a question; no torch, readable in grey."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gelora_cli.plots.base import Picture
from gelora_cli.plots.inline import Marks
from gelora_cli.plots.names import wrap_name
from gelora_cli.plots.style import (
    COLORS,
    DARK,
    GRID,
    INK,
    MARKERS,
    MIDDLE,
    LineStyle,
    as_written,
    figure_head,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gelora_cli.report.questions import AcrossTasks

CONTRAST_INCHES, TASK_INCHES, HEAD_INCHES = 0.36, 0.13, 1.5
"""Height of a contrast, of each task below it, and of axis and titles."""
TASK_STEP = TASK_INCHES / CONTRAST_INCHES
"""Distance between the tasks of a contrast, in contrasts."""
OF_ALL = "D"
"""The marker of a difference over the tasks, which no single task has."""
TASK_MARKERS = [marker for marker in MARKERS if marker != OF_ALL]
OVERALL: LineStyle = {"marker": OF_ALL, "markersize": 7, "capsize": 4, "elinewidth": 2.2, "linestyle": "none"}
OF_TASK: LineStyle = {"markersize": 4.5, "capsize": 0, "elinewidth": 0.9, "linestyle": "none"}


def differences_picture(name: str, title: str, contrasts: Sequence[AcrossTasks]) -> Picture | None:
    """Draw each contrast over the tasks with its 95 % interval, and smaller those on the single tasks below it.

    A filled diamond is a difference that is shown after the correction, a hollow one is not shown. Where there is no
    interval, the point stands alone.

    Args:
        name: that of its files.
        title: the question.
        contrasts: the first of each pair stands for a positive difference. None is drawn without any.
    """
    if not contrasts:
        return None
    tasks = list(dict.fromkeys(task for contrast in contrasts for task in contrast.tasks))
    steps = [1 + TASK_STEP * len(contrast.tasks) * (len(contrast.tasks) > 1) for contrast in contrasts]
    figure, (axis,) = new_figure(height_inches=HEAD_INCHES + CONTRAST_INCHES * sum(steps), panels=(1,))
    axis.axvline(0, color=INK, linewidth=1, zorder=1)
    marks = Marks()
    places = []
    place = 0.0
    for contrast, step in zip(contrasts, steps, strict=True):
        places.append(place)
        _draw_overall(axis, contrast, place, marks)
        if len(contrast.tasks) > 1:
            _draw_tasks(axis, contrast, tasks, place, marks)
        axis.axhline(place + step - 0.5, color=GRID, linewidth=0.8, zorder=0)
        place += step
    _name_contrasts(axis, contrasts, places)
    axis.set_ylim(place - 0.5, -0.5)  # the first at the top
    axis.set_xlabel("difference in points (0 to 100): to the right the first named is better")
    _add_legend(axis, tasks if any(len(contrast.tasks) > 1 for contrast in contrasts) else [])
    figure_head(figure, title, "bars: 95 % intervals of single differences, before the correction", legend_of=axis)
    caption = (
        "Differences in points; bars: 95 % intervals of single differences, before the correction. Large diamonds: "
        "over the tasks, each counted once; filled: shown after Holm's correction within the question; hollow: not "
        "shown. Small: on one task, not tested here."
    )
    return Picture(name, title, caption, figure, marks.tips)


def _draw_overall(axis: Axes, contrast: AcrossTasks, place: float, marks: Marks) -> None:
    """Draw a contrast over its tasks."""
    widths = None
    if contrast.low is not None and contrast.high is not None:
        widths = [[contrast.difference - contrast.low], [contrast.high - contrast.difference]]
    fill = DARK if contrast.is_shown else "white"
    axis.errorbar([contrast.difference], [place], xerr=widths, color=DARK, markerfacecolor=fill, **OVERALL)
    text = f"{contrast.first} - {contrast.second}: {contrast.difference:+.2f} points"
    if contrast.low is not None and contrast.high is not None:
        text += f" ({contrast.low:.2f} to {contrast.high:.2f})"
    if contrast.p_corrected is not None:
        text += f", corrected p {contrast.p_corrected:.3g}"
    marks.add(axis, contrast.difference, place, f"{text}, {contrast.seeds} seeds")


def _draw_tasks(axis: Axes, contrast: AcrossTasks, tasks: Sequence[str], place: float, marks: Marks) -> None:
    """Draw the difference on each task of a contrast, below that over all of them."""
    for index, (task, difference) in enumerate(zip(contrast.tasks, contrast.differences, strict=True)):
        look = _task_style(tasks.index(task))
        height = place + 0.25 + TASK_STEP * (index + 0.5)
        half_width = contrast.parts[index].half_width() if contrast.parts else None
        widths = None if half_width is None else [half_width]
        axis.errorbar([difference], [height], xerr=widths, **{**look, **OF_TASK})
        spread = "" if half_width is None else f" \N{PLUS-MINUS SIGN} {half_width:.2f}"
        marks.add(axis, difference, height, f"{task}: {difference:+.2f}{spread} points")


def _task_style(index: int) -> LineStyle:
    """Return the look of a task; any number of tasks has one, and those of one colour differ by fill."""
    fill = "full" if index < len(COLORS) else "none"
    color, marker = COLORS[index % len(COLORS)], TASK_MARKERS[index % len(TASK_MARKERS)]
    return {"color": color, "marker": marker, "fillstyle": fill}


def _name_contrasts(axis: Axes, contrasts: Sequence[AcrossTasks], places: Sequence[float]) -> None:
    """Write the names of the contrasts at the axis, with the board where there are several."""
    boards = {contrast.board for contrast in contrasts}
    labels = []
    for contrast in contrasts:
        label = wrap_name(f"{contrast.first} - {contrast.second}")
        labels.append(f"{label}\n{wrap_name(contrast.board)}" if len(boards) > 1 else label)
    axis.set_yticks(places, labels)
    as_written(axis.get_yticklabels())
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.grid(axis="x", color=GRID, linewidth=0.8)
    axis.spines["left"].set_visible(False)


def _add_legend(axis: Axes, tasks: Sequence[str]) -> None:
    """Add what the marks mean."""
    look: LineStyle = {"color": DARK, "marker": OF_ALL, "linestyle": "none", "markersize": 7}
    axis.plot([], [], label="over the tasks: shown", **look)
    axis.plot([], [], label="over the tasks: not shown", markerfacecolor="white", **look)
    for index, task in enumerate(tasks):
        axis.plot(
            [], [], label=task, markersize=5, markeredgecolor=MIDDLE, **{**_task_style(index), "linestyle": "none"}
        )
