"""What tuning changed: methods at a point that all share, and each at its own best; no torch, readable in grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gelora_cli.plots.base import Picture
from gelora_cli.plots.inline import Marks
from gelora_cli.plots.names import EdgeName, name_at_edge
from gelora_cli.plots.style import GRID, INK, LIGHT, figure_head, method_style, name_panel, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COMMON, BEST = 0.0, 1.0
"""Where both values of a method stand on the axis."""
RANGE_WIDTH = 0.16


@dataclass(frozen=True)
class TunedMethod:
    """The value of a method at the common point, and at the best of its own trials, in points of 0 to 100."""

    method: str
    common: float
    best: float


def tuning_picture(name: str, title: str, studies: Mapping[str, Sequence[TunedMethod]], trials: int) -> Picture | None:
    """Draw a line for each method from the common point to its own best, a panel a study, with the ranges behind.

    Where the methods' own best lie closer together than they do at the common point, most of what seemed to be a
    difference of methods was one of settings.

    Args:
        name: that of its files.
        title: the question.
        studies: what each study is of, with its methods. None is drawn without a study of two methods.
        trials: how many trials each method had.
    """
    drawn = {study: methods for study, methods in studies.items() if len(methods) > 1}
    if not drawn:
        return None
    figure, axes = new_figure(height_inches=4.6, panels=(1,), columns=len(drawn))
    marks = Marks()
    sentences = []
    for axis, (study, methods) in zip(axes, drawn.items(), strict=True):
        ranges = []
        for place in (COMMON, BEST):
            values = [_value(method, place) for method in methods]
            ranges.append(_draw_range(axis, place, values))
        _draw_methods(axis, methods, marks)
        name_panel(axis, study)
        axis.set_xlim(-0.25, 1.12)
        axis.set_xticks([COMMON, BEST], ["one point\nfor all", f"best of {trials}\nfor each"])
        sentences.append(
            f"{study}: a range of {ranges[0]:.1f} points at one point for all, {ranges[1]:.1f} at the best"
        )
    axes[0].set_ylabel("value on held-out training rows (0 to 100)")
    explanation = "one point for all: that with the highest mean over methods; bars: the range of methods"
    figure_head(figure, title, explanation)
    chance = f"The best of {trials} noisy values is above any one of them by chance alone, too."
    caption = f"{explanation.capitalize()}. {'; '.join(sentences)}. {chance}"
    return Picture(name, title, caption, figure, marks.tips)


def _value(method: TunedMethod, place: float) -> float:
    return method.common if place == COMMON else method.best


def _draw_range(axis: Axes, place: float, values: Sequence[float]) -> float:
    """Draw from the least to the most of some values, and write the range below it; return the range."""
    low, high = min(values), max(values)
    axis.bar([place], [high - low], bottom=low, width=RANGE_WIDTH, color=LIGHT, edgecolor=GRID, zorder=1)
    axis.annotate(
        f"{high - low:.1f}", (place, low), (0, -4), textcoords="offset points", ha="center", va="top", color=INK
    )
    return high - low


def _draw_methods(axis: Axes, methods: Sequence[TunedMethod], marks: Marks) -> None:
    """Draw the methods of a study, named at the right edge."""
    names = []
    for each in methods:
        style = method_style(each.method)
        axis.plot([COMMON, BEST], [each.common, each.best], markersize=5.5, linewidth=1.1, **style)
        text = f"{each.method}: {each.common:.2f} at the common point, {each.best:.2f} at its best"
        marks.add(axis, COMMON, each.common, text)
        marks.add(axis, BEST, each.best, text)
        names.append(EdgeName(each.method, each.best, style))
    values = [value for each in methods for value in (each.common, each.best)]
    margin = 0.08 * (max(values) - min(values)) or 0.5
    axis.set_ylim(min(values) - 2 * margin, max(values) + margin)
    name_at_edge(axis, names)
