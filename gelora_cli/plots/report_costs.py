"""`cost-N`: what each row reached against each thing that it cost, with the front; no torch, readable in grey."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from gelora_cli.core.registries import REPORT_PICTURES
from gelora_cli.plots.base import Picture, ReportPicture
from gelora_cli.plots.inline import Marks, row_tip
from gelora_cli.plots.report_rows import metric_label
from gelora_cli.plots.report_values import Series, parameter_ticks, picture_families, row_series
from gelora_cli.plots.style import LIGHT, distinct_styles, figure_head, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gelora_cli.report.row_costs import RowCosts
    from gelora_cli.report.rows import Row

COLUMNS = 3
FRONT = "front: no cheaper row has a higher value"
ZERO_SHARE = 3
"""A log axis has no 0: a cost of 0 stands at a third of the smallest other one, under a tick that says 0."""

SAME, STEP = 0.008, 0.028
"""Shares of an axis: of costs that are as good as equal, and of markers that stand side by side for them."""
SIDE_BY_SIDE = "nearly equal costs stand side by side"
"""What a picture with such markers says."""


@dataclass(frozen=True)
class Cost:
    """One thing that a row costs: its name on an axis, the unit that its ticks are in, and a row's cost."""

    label: str
    unit: float
    suffix: str
    of: Callable[[Row], float | None]


@REPORT_PICTURES.register
class CostPicture(ReportPicture):
    """One picture for each family of `picture_families` with two rows at least whose costs are known."""

    name = "cost"

    def draw(self, rows: Sequence[Row]) -> Iterator[Picture]:
        """Draw the reported value against each cost, a panel each, with a line along the front.

        A row is on the front of a panel if no cheaper row has a higher value.
        """
        recorded = [row for row in rows if row.costs is not None]
        families = [(title, members) for title, members in picture_families(recorded) if len(members) > 1]
        for number, (title, members) in enumerate(families, start=1):
            yield _draw_family(f"cost-{number}", title, members)


def _recorded(of: Callable[[RowCosts], float | None]) -> Callable[[Row], float | None]:
    """Return a row's cost from those that its runs recorded."""

    def of_row(row: Row) -> float | None:
        return None if row.costs is None else of(row.costs)

    return of_row


COSTS = (
    Cost("parameters trained at most", 1e6, "M", lambda row: row.trained_params),
    Cost("allocation and training, TFLOP", 1e12, "", _recorded(lambda costs: costs.total_flops)),
    Cost("allocation and training, s", 1.0, "", lambda row: row.start_seconds + row.train_seconds),
    Cost("parameters at inference, unmerged", 1e6, "M", _recorded(lambda costs: costs.inference_params)),
    Cost("largest rank", 1.0, "", _recorded(lambda costs: costs.largest_rank)),
    Cost("peak memory, MB", 1.0, "", lambda row: row.peak_megabytes),
)
"""What rows are compared by, a panel each."""


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (cost, value) than which no other has more value at no more cost, by ascending cost."""
    best: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or value > best[-1][1]:
            best.append((cost, value))
    return best


Name = TypeVar("Name", int, str)


def log_places(costs: Mapping[Name, float]) -> tuple[dict[Name, float], float | None]:
    """Return where costs stand on a log axis, and where one of 0 does; None where there is no such cost."""
    smallest = min((cost for cost in costs.values() if cost), default=1.0)
    zero = smallest / ZERO_SHARE
    return {name: cost or zero for name, cost in costs.items()}, zero if 0 in costs.values() else None


def side_by_side(places: Mapping[Name, float], low: float, high: float) -> dict[Name, float]:
    """Return places on a log axis from `low` to `high`, with those side by side that are as good as equal."""
    same, step = (high / low) ** SAME, (high / low) ** STEP  # factors, since the axis is logarithmic
    groups: list[list[Name]] = []
    for name in sorted(places, key=lambda name: places[name]):
        if groups and places[name] <= places[groups[-1][0]] * same:
            groups[-1].append(name)
        else:
            groups.append([name])
    moved: dict[Name, float] = {}
    for group in groups:
        centre = math.exp(sum(math.log(places[name]) for name in group) / len(group))
        for index, name in enumerate(group):
            moved[name] = places[name] if len(group) == 1 else centre * step ** (index - (len(group) - 1) / 2)
    return moved


def _draw_family(name: str, title: str, rows: Sequence[Row]) -> Picture:
    """Draw a panel for every cost that two of these rows have."""
    shown = []
    for cost in COSTS:
        values = [cost.of(row) for row in rows]
        if len(values) - values.count(None) > 1:
            shown.append(cost)
    lines = math.ceil(len(shown) / COLUMNS)
    figure, axes = new_figure(height_inches=0.9 + 2.5 * lines, panels=(1,) * lines, columns=COLUMNS)
    series = row_series(rows)
    styles = distinct_styles(each.style for each in series)
    series = [replace(each, style=style) for each, style in zip(series, styles, strict=True)]
    marks = Marks()
    for number, (axis, cost) in enumerate(zip(axes, shown, strict=False)):
        axis.sharey(axes[0])
        _draw_panel(axis, cost, rows, series, marks)
        if number % COLUMNS == 0:
            axis.set_ylabel(metric_label(rows[0]), parse_math=False)
        else:
            axis.tick_params(labelleft=False)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    subtitle = f"{title}; means; bars: one sd to each side; {SIDE_BY_SIDE}"
    figure_head(figure, "Value against what it costs", subtitle, legend_of=axes[0])
    caption = (
        f"Each row's {metric_label(rows[0])} against each cost on a log axis; the line is the front. Marks of "
        f"{SIDE_BY_SIDE}."
    )
    return Picture(name, f"What it costs: {title}", caption, figure, marks.tips, task=rows[0].task)


def _draw_panel(axis: Axes, cost: Cost, rows: Sequence[Row], series: Sequence[Series], marks: Marks) -> None:
    """Draw the rows that have this cost, and the front of them."""
    costs = {id(row): value for row in rows if (value := cost.of(row)) is not None}
    places, zero = log_places(costs)
    low, high = min(places.values()) / 1.6, 1.6 * max(places.values())
    positions = side_by_side(places, low, high)
    for each in series:
        known = [row for row in each.rows if id(row) in positions]
        _draw_rows(axis, known, [positions[id(row)] for row in known], each)
        for row in known:
            marks.add(axis, positions[id(row)], row.mean, row_tip(row))
    draw_front(axis, [(places[id(row)], row.mean) for row in rows if id(row) in places], high)
    scale_cost_axis(axis, cost.label, cost.unit, cost.suffix, low, high, zero)


def _draw_rows(axis: Axes, rows: Sequence[Row], positions: Sequence[float], series: Series) -> None:
    """Draw mean and sd of the rows of one series; a series without any stays in the legend."""
    deviations = [row.sd or 0.0 for row in rows]
    axis.errorbar(
        positions,
        [row.mean for row in rows],
        yerr=deviations if any(deviations) else None,  # bars of length 0 would look like a spread of 0
        label=series.name,
        markersize=6.5,
        capsize=2.5,
        elinewidth=1,
        **{**series.style, "linestyle": "none"},
    )


def draw_front(axis: Axes, points: Sequence[tuple[float, float]], high: float) -> None:
    """Draw steps along the front, below the markers, on to the end of the axis."""
    best = front(points)
    costs = [cost for cost, _ in best] + [high]
    values = [value for _, value in best] + [best[-1][1]]
    axis.plot(costs, values, color=LIGHT, linewidth=3, drawstyle="steps-post", zorder=1, label=FRONT)


def scale_cost_axis(
    axis: Axes, label: str, unit: float, suffix: str, low: float, high: float, zero: float | None
) -> None:
    """Make the axis logarithmic, with few ticks in the unit of the cost; `zero` is where a cost of 0 stands."""
    from matplotlib.ticker import NullLocator

    axis.set_xscale("log")
    axis.set_xlim(low, high)
    start = low if zero is None else 1.5 * zero
    ticks = [tick * unit for tick in parameter_ticks(start / unit, high / unit)]
    labels = [f"{tick / unit:g}{suffix}" for tick in ticks]
    if zero is not None:
        ticks, labels = [zero, *ticks], ["0", *labels]
    axis.set_xticks(ticks, labels, fontsize=9)
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel(label, fontsize=9)
