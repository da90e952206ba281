"""What the pictures of a report share: rows under a title, a look for each row, means over seeds; no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, TypeVar

from gelora_cli.plots.style import LineStyle, method_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gelora_cli.report.rows import Row

MOST_LINES = 6
"""How many lines a reader tells apart in one panel."""

Item = TypeVar("Item")
Points = Sequence[tuple[int, float]]
"""Pairs of an optimizer step and a value."""


@dataclass(frozen=True)
class RowFamily:
    """Rows that belong into one picture: of equal task, model, budget, protocol and metric; `title` says them."""

    title: str
    rows: list[Row]


def row_families(rows: Iterable[Row]) -> list[RowFamily]:
    """Return the families of these rows, in the order of their first rows."""
    families: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        budget = "exempt from budgets" if row.exempt else f"budget {row.budget}"
        title = f"{row.task}, {row.model}, {budget}, protocol {row.protocol}"
        families.setdefault((title, row.metric), []).append(row)
    return [RowFamily(title, members) for (title, _), members in families.items()]


def bound(row: Row) -> str:
    """Return the budget that binds a row; empty for a method without one."""
    return "" if row.exempt else row.budget


def row_styles(rows: Sequence[Row]) -> dict[int, LineStyle]:
    """Return the look of each row by its `id`; rows of one method differ in fill and line."""
    return dict(zip(map(id, rows), method_styles(row.method for row in rows), strict=True))


def metric_label(row: Row) -> str:
    """Return the name of the row's metric for an axis, with its range where that is not 0 to 1."""
    metric = row.metric.replace("_", " ")
    return f"{metric} (0 to 100)" if row.digits == 2 else metric


def draw_curve(axis: Axes, row: Row, style: LineStyle, points: Points, marker_every: float) -> None:
    """Draw a row's line; markers stand at every so many points (int) or at this share of the line's length (float)."""
    if points:
        steps, values = zip(*points, strict=True)
        # One point is no line: a share of its length would show nothing.
        every = 1 if len(points) == 1 else marker_every
        axis.plot(steps, values, label=row.name, markevery=every, markersize=5, linewidth=1.3, **style)


def mean_over_seeds(curves: Sequence[Points]) -> Points:
    """Return the mean of one curve per seed, at every step that all of them have."""
    by_step: dict[int, list[float]] = defaultdict(list)
    for curve in curves:
        for step, value in dict(curve).items():
            by_step[step].append(value)
    return sorted((step, mean(values)) for step, values in by_step.items() if len(values) == len(curves))


def chunks(items: Sequence[Item], size: int) -> list[list[Item]]:
    """Return the items in lists of at most this size."""
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


def part_name(name: str, part: int) -> str:
    """Return the name of a picture's files where one family needs several: `ranks-1`, `ranks-1-2`, ..."""
    return f"{name}-{part + 1}" if part else name
