"""`value-N`: what each row reached against what it cost; no torch, readable in grey."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gelora_cli.core.registries import REPORT_PICTURES
from gelora_cli.plots.base import Picture, ReportPicture
from gelora_cli.plots.report_rows import metric_label
from gelora_cli.plots.style import LineStyle, figure_head, method_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gelora_cli.report.rows import Row


MOST_TICKS = 4
"""Ticks of the axis of parameters, whose labels are as long as `0.03M`."""


@dataclass(frozen=True)
class Series:
    """The rows of one method and settings over budgets, under the name and look that they share."""

    name: str
    style: LineStyle
    rows: list[Row]


@REPORT_PICTURES.register
class ValuePicture(ReportPicture):
    """One picture for each task, model, protocol and metric."""

    name = "value"

    def draw(self, rows: Sequence[Row]) -> Iterator[Picture]:
        """Draw the reported value against the adapter's parameters on a log axis, budgets of a method joined.

        Rows of like cost hide each other there. So a second panel beside it gives each row a position of its own, with
        its standard deviation.
        """
        keys = dict.fromkeys((row.task, row.model, row.protocol, row.metric) for row in rows)
        for number, key in enumerate(keys, start=1):
            members = [row for row in rows if (row.task, row.model, row.protocol, row.metric) == key]
            title = f"{key[0]}, {key[1]}, protocol {key[2]}"
            yield _draw_family(f"value-{number}", title, members)


def _draw_family(name: str, title: str, rows: Sequence[Row]) -> Picture:
    """Draw values over parameters at the left, and at the right each row at a position of its own."""
    figure, (left, right) = new_figure(height_inches=4.8, panels=(1,), columns=2)
    right.sharey(left)
    by_cost = sorted(rows, key=_cost)
    positions = {id(row): position for position, row in enumerate(by_cost, start=1)}
    for series in row_series(rows):
        ordered = sorted(series.rows, key=_cost)
        costs, means = [_cost(row) for row in ordered], [row.mean for row in ordered]
        left.plot(costs, means, label=series.name, markersize=7, linewidth=1.2, **series.style)
        _draw_spread(right, series, positions)
    _scale_parameter_axis(left, [_cost(row) for row in rows])
    metric = metric_label(rows[0])
    left.set(xlabel="parameters of the adapter, log scale", ylabel=metric)
    right.set_xlabel("rows in the order of their parameters")
    right.tick_params(bottom=False, labelbottom=False, labelleft=False)
    subtitle = f"{title}; means; bars at the right: one sd to each side"
    figure_head(figure, "Value against parameters", subtitle, legend_of=right)
    return Picture(name, f"Value and cost: {title}", f"{metric} of each row.", figure)


def row_series(rows: Sequence[Row]) -> list[Series]:
    """Return the rows by name; the series of one method differ in fill and line."""
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        name = f"{row.name} (exempt)" if row.exempt else row.name
        by_name.setdefault(name, []).append(row)
    counts: dict[str, int] = defaultdict(int)
    series = []
    for name, members in by_name.items():
        method = members[0].method
        series.append(Series(name, method_style(method, counts[method]), members))
        counts[method] += 1
    return series


def _cost(row: Row) -> int:
    """Return the adapter's parameters; a log axis has no 0."""
    return max(row.adapter_params, 1)


def _draw_spread(axis: Axes, series: Series, positions: dict[int, int]) -> None:
    """Draw mean and sd of each row at its position, which is known by its `id`."""
    deviations = [row.sd or 0.0 for row in series.rows]
    has_one_seed = all(len(row.runs) == 1 for row in series.rows)
    axis.errorbar(
        [positions[id(row)] for row in series.rows],
        [row.mean for row in series.rows],
        yerr=deviations if any(deviations) else None,  # bars of length 0 would look like a spread of 0
        label=f"{series.name} (one seed)" if has_one_seed else series.name,
        markersize=7,
        capsize=3,
        **{**series.style, "linestyle": "none"},
    )


def _scale_parameter_axis(axis: Axes, params: Sequence[int]) -> None:
    """Make the axis logarithmic around these, with few ticks, written as budgets are: 0.3M."""
    from matplotlib.ticker import NullLocator

    low, high = min(params) / 1.6, 1.6 * max(params)  # 0.2 of a decade to each side, so that no marker is cut
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    ticks = parameter_ticks(low, high)
    axis.set_xticks(ticks, [f"{tick / 1e6:g}M" for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())


def parameter_ticks(low: float, high: float) -> list[float]:
    """Return at most `MOST_TICKS` round numbers between two ends: as many per decade as have room."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for mantissas in ((1, 2, 3, 5), (1, 3), (1,)):
        ticks = [mantissa * 10.0**decade for decade in decades for mantissa in mantissas]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= MOST_TICKS:
            return ticks
    return ticks[:: math.ceil(len(ticks) / MOST_TICKS)]
