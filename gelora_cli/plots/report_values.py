"""`value-N`: what each row reached against what it cost; no torch, readable in grey."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from gelora_cli.allocation.formatting import EXEMPT_BUDGET
from gelora_cli.core.registries import REPORT_PICTURES
from gelora_cli.plots.base import Picture, ReportPicture
from gelora_cli.plots.inline import Marks, row_tip
from gelora_cli.plots.names import EdgeName, fit_at_ends, name_at_edge, wrap_name
from gelora_cli.plots.report_rows import metric_label
from gelora_cli.plots.style import GRID, LineStyle, as_written, figure_head, method_styles, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gelora_cli.report.rows import Row


HEAD_INCHES, LINE_INCHES = 1.5, 0.21
"""Height of titles and axis, and of a line of a name."""
MOST_LINES_BESIDE = 36
"""Lines of names up to which there is a panel beside them."""
DIFFERENT = 1.25
"""Between the least and the most parameters: less can't be told apart on a log axis."""
MOST_TICKS = 4
"""Ticks of the axis of parameters, whose labels are as long as `0.03M`."""
LEAST_GAP, LEAST_GAP_BESIDE_NAMES = 0.2, 0.28
"""Between two ticks, as a share of the axis, so that their labels stand apart; in a panel that is narrow as it shares
the width with the names of rows."""


@dataclass(frozen=True)
class Series:
    """The rows of one method and settings over budgets, under the name and look that they share."""

    name: str
    style: LineStyle
    rows: list[Row]


@REPORT_PICTURES.register
class ValuePicture(ReportPicture):
    """One picture for each task, model, protocol and metric; trials and values on held-out rows have their own."""

    name = "value"

    def draw(self, rows: Sequence[Row]) -> Iterator[Picture]:
        """Draw the value of each row beside its name, and where costs differ against the adapter's parameters, too."""
        for number, (title, members) in enumerate(picture_families(rows), start=1):
            yield _draw_family(f"value-{number}", title, members)


def picture_families(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yield the rows that a picture of values may hold together, each time with a title."""
    families: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        families.setdefault((row.task, row.model, row.protocol, row.metric, row.trial_mark), []).append(row)
    for (task, model, protocol, _, trial_mark), members in families.items():
        yield f"{task}, {model}, protocol {protocol}{trial_mark}", members


def _draw_family(name: str, title: str, rows: Sequence[Row]) -> Picture:
    """Draw each row in a line of its own at the left; at the right values over parameters, budgets of a method joined.

    Rows of one budget all have about the same parameters, so that the right panel would say nothing of them. It is left
    out, too, where the names need so much height that it would be a tower.
    """
    costs = [_cost(row) for row in rows]
    labels = _row_labels(rows)
    lines = sum(1 + label.count("\n") for label in labels.values())
    has_costs = max(costs) > DIFFERENT * min(costs) and lines <= MOST_LINES_BESIDE
    height = HEAD_INCHES + max(LINE_INCHES * lines, 2.5 * has_costs)
    figure, axes = new_figure(height_inches=height, panels=(1,), columns=1 + has_costs)
    series, marks = row_series(rows), Marks()
    _draw_named_rows(axes[0], rows, series, labels, marks)
    if has_costs:
        _draw_over_parameters(axes[1], rows, series)
    figure_head(figure, "Value of each row", f"{title}; means; bars: one sd to each side")
    caption = f"Each row's {metric_label(rows[0])}; bars: one standard deviation over seeds to each side."
    return Picture(name, f"Value and cost: {title}", caption, figure, marks.tips, task=rows[0].task)


def _row_labels(rows: Sequence[Row]) -> dict[int, str]:
    """Return what each row is called at the axis, by its `id`, from the first to the last line.

    Budgets stand below each other from the smallest; within one the best row is the first.
    """
    cheapest: dict[str, int] = {}
    for row in rows:
        cheapest[row.budget] = min(_cost(row), cheapest.get(row.budget, _cost(row)))
    has_several_budgets = len([budget for budget in cheapest if budget != EXEMPT_BUDGET]) > 1
    ordered = sorted(rows, key=lambda row: (row.exempt, cheapest[row.budget], -row.mean))
    labels = {}
    for row in ordered:
        label = _series_name(row)
        if has_several_budgets and not row.exempt:
            label += f", {row.budget}"
        if len(row.runs) == 1:
            label += " (one seed)"
        labels[id(row)] = wrap_name(label)
    return labels


def _draw_named_rows(
    axis: Axes, rows: Sequence[Row], series: Sequence[Series], labels: Mapping[int, str], marks: Marks
) -> None:
    """Draw mean and sd of each row beside its name."""
    places: dict[int, float] = {}
    height = 0.0
    for identity, label in labels.items():
        lines = 1 + label.count("\n")
        places[identity] = height + lines / 2
        height += lines
    for each in series:
        for row in each.rows:
            look = {**each.style, "linestyle": "none", "markersize": 6.5, "capsize": 3, "label": each.name}
            # A bar of length 0 would look like a spread of 0.
            axis.errorbar([row.mean], [places[id(row)]], xerr=[row.sd] if row.sd else None, **look)
            marks.add(axis, row.mean, places[id(row)], row_tip(row))
    axis.set_ylim(height, 0)  # the first at the top
    axis.set_yticks(list(places.values()), list(labels.values()), fontsize=9)
    as_written(axis.get_yticklabels())
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=True, axis="x", color=GRID, linewidth=0.8)
    axis.set_xlabel(metric_label(rows[0]), parse_math=False)


def _draw_over_parameters(axis: Axes, rows: Sequence[Row], series: Sequence[Series]) -> None:
    """Draw the means over the adapter's parameters, named at the ends of the lines where there is room."""
    for each in series:
        ordered = sorted(each.rows, key=_cost)
        costs, means = [_cost(row) for row in ordered], [row.mean for row in ordered]
        axis.plot(costs, means, label=each.name, markersize=6.5, linewidth=1.2, **each.style)
    _scale_parameter_axis(axis, [_cost(row) for row in rows])
    axis.set_xlabel("parameters of the adapter,\nlog scale", fontsize=9)  # long names leave the panel narrow
    axis.set_ylabel(metric_label(rows[0]), parse_math=False)
    axis.margins(y=0.08)
    axis.autoscale(axis="y")
    if fit_at_ends([each.name for each in series]):
        ends = [max(each.rows, key=_cost).mean for each in series]
        names = [EdgeName(each.name, end, each.style) for each, end in zip(series, ends, strict=True)]
        name_at_edge(axis, names)


def _series_name(row: Row) -> str:
    return f"{row.name} (exempt)" if row.exempt else row.name


def row_series(rows: Sequence[Row]) -> list[Series]:
    """Return the rows by name; the series of one method differ in fill and line."""
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(_series_name(row), []).append(row)
    styles = method_styles(members[0].method for members in by_name.values())
    return [Series(name, style, by_name[name]) for name, style in zip(by_name, styles, strict=True)]


def _cost(row: Row) -> int:
    """Return the adapter's parameters; a log axis has no 0."""
    return max(row.adapter_params, 1)


def _scale_parameter_axis(axis: Axes, params: Sequence[int]) -> None:
    """Make the axis logarithmic around these, with few ticks, written as budgets are: 0.3M."""
    from matplotlib.ticker import NullLocator

    low, high = min(params) / 1.6, 1.6 * max(params)  # 0.2 of a decade to each side, so that no marker is cut
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    ticks = parameter_ticks(low, high, LEAST_GAP_BESIDE_NAMES)
    axis.set_xticks(ticks, [f"{tick / 1e6:g}M" for tick in ticks], fontsize=9)
    axis.xaxis.set_minor_locator(NullLocator())


def parameter_ticks(low: float, high: float, least_gap: float = LEAST_GAP) -> list[float]:
    """Return at most `MOST_TICKS` round numbers between two ends: as many per decade as have room.

    Args:
        low: the lower end of the log axis.
        high: its upper end.
        least_gap: between two ticks, as a share of the axis, so that their labels stand apart.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    least_ratio = (high / low) ** least_gap
    for mantissas in ((1, 2, 3, 5), (1, 2, 5), (1, 3), (2, 5), (1,)):
        ticks = [mantissa * 10.0**decade for decade in decades for mantissa in mantissas]
        ticks = [tick for tick in ticks if low <= tick <= high]
        is_apart = all(above / below >= least_ratio for below, above in pairwise(ticks))
        if ticks and len(ticks) <= MOST_TICKS and is_apart:
            return ticks
    return ticks[:: math.ceil(len(ticks) / MOST_TICKS)]
