"""`pareto-N`: averages over several tasks against what they cost, with the front; no torch, readable in grey."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

from gelora_cli.core.registries import REPORT_PICTURES
from gelora_cli.metrics.averages import TaskValues, average_over_tasks
from gelora_cli.plots.base import Picture, ReportPicture
from gelora_cli.plots.inline import Marks
from gelora_cli.plots.names import EdgeName, name_at_edge
from gelora_cli.plots.report_costs import SIDE_BY_SIDE, draw_front, log_places, scale_cost_axis, side_by_side
from gelora_cli.plots.style import LineStyle, distinct_styles, figure_head, method_styles, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gelora_cli.report.rows import Row

Family = tuple[str, str, bool, bool]
"""Model, protocol, whether the runs are short trials, and whether their values are on held-out training rows."""


@dataclass(frozen=True, kw_only=True)
class Average:
    """A method over several tasks, each counted once, in points of 0 to 100.

    Attributes:
        name: that of its rows, with the budget where there are several.
        method: the method.
        rows: its row on each task.
        value: the mean over tasks of the means over seeds.
        sd: the standard deviation over seeds of a seed's mean over tasks; None with fewer than two seeds on all tasks.
    """

    name: str
    method: str
    rows: tuple[Row, ...]
    value: float
    sd: float | None

    def cost(self, name: str) -> float | None:
        """Return a cost: parameters are the most of any task, operations and seconds the means over the tasks."""
        if name == "parameters":
            return max(row.trained_params for row in self.rows)
        if name == "seconds":
            return mean(row.start_seconds + row.train_seconds for row in self.rows)
        operations = [row.costs.total_flops for row in self.rows if row.costs is not None]
        known = [count for count in operations if count is not None]
        return mean(known) if len(known) == len(self.rows) else None


@dataclass(frozen=True)
class Axis:
    """A cost on the horizontal axis: its name, its label, and the unit of its ticks."""

    name: str
    label: str
    unit: float
    suffix: str = ""


AXES = (
    Axis("parameters", "parameters trained at most", 1e6, "M"),
    Axis("operations", "allocation and training,\nTFLOP, mean over tasks", 1e12),
    Axis("seconds", "allocation and training,\nseconds, mean over tasks", 1.0),
)


@REPORT_PICTURES.register
class ParetoPicture(ReportPicture):
    """One picture for each model and protocol of which two methods ran on the same two tasks at least."""

    name = "pareto"

    def draw(self, rows: Sequence[Row]) -> Iterator[Picture]:
        """Draw the average over tasks against parameters, operations and seconds, with a line along each front."""
        number = 0
        for family, members in _families(rows).items():
            tasks = list(dict.fromkeys(row.task for row in members))
            averages, left_out = average_methods(members)
            if len(tasks) > 1 and len(averages) > 1:
                number += 1
                yield _draw_averages(f"pareto-{number}", family, tasks, averages, left_out)


def _families(rows: Sequence[Row]) -> dict[Family, list[Row]]:
    families: dict[Family, list[Row]] = {}
    for row in rows:
        if row.points_factor is not None:  # a metric without points is in no average with others
            families.setdefault((row.model, row.protocol, row.smoke, row.on_holdout), []).append(row)
    return families


def average_methods(rows: Sequence[Row]) -> tuple[list[Average], list[str]]:
    """Return the average of each name and budget that has a row on every task, and the names of those that lack one."""
    tasks = {row.task for row in rows}
    has_several_budgets = len({row.budget for row in rows if not row.exempt}) > 1
    by_name: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        for method, name in row.name_of_method.items():
            by_name.setdefault((name, method, row.budget), {}).setdefault(row.task, row)
    averages, left_out = [], []
    for (name, method, budget), of_tasks in by_name.items():
        is_exempt = next(iter(of_tasks.values())).exempt
        text = f"{name}, {budget}" if has_several_budgets and not is_exempt else name
        if of_tasks.keys() < tasks:
            left_out.append(text)
        else:
            averages.append(_average(text, method, list(of_tasks.values())))
    return averages, left_out


def _average(name: str, method: str, rows: Sequence[Row]) -> Average:
    """Return the average of one row for each task."""
    average = average_over_tasks([TaskValues(row.value_by_seed, row.points_factor or 1.0) for row in rows])
    return Average(name=name, method=method, rows=tuple(rows), value=average.points, sd=average.sd)


def _draw_averages(
    name: str, family: Family, tasks: Sequence[str], averages: Sequence[Average], left_out: Sequence[str]
) -> Picture:
    shown = [axis for axis in AXES if _is_recorded(axis, averages)]
    figure, axes = new_figure(height_inches=4.4, panels=(1,), columns=len(shown))
    looks = distinct_styles(method_styles(average.method for average in averages))
    styles = {average.name: look for average, look in zip(averages, looks, strict=True)}
    marks = Marks()
    for axis, cost in zip(axes, shown, strict=True):
        axis.sharey(axes[0])
        _draw_panel(axis, cost, averages, styles, marks)
        axis.tick_params(labelleft=axis is axes[0])
    lowest = min(average.value - (average.sd or 0.0) for average in averages)
    highest = max(average.value + (average.sd or 0.0) for average in averages)
    margin = 0.06 * (highest - lowest) or 0.5
    axes[0].set_ylim(lowest - margin, highest + margin)
    axes[0].set_ylabel("average over tasks (0 to 100)")
    name_at_edge(axes[-1], [EdgeName(each.name, each.value, styles[each.name]) for each in averages])
    of_tasks = ", ".join(tasks)
    title = f"{of_tasks}, {family[0]}, protocol {family[1]}"
    figure_head(figure, "Average over tasks against what it costs", f"{title}; bars: one sd over seeds; {SIDE_BY_SIDE}")
    costs = " and ".join(cost.name for cost in shown)
    caption = (
        f"Average of {len(tasks)} tasks ({of_tasks}), each counted once, against {costs} on log axes; the line is the "
        f"front: no cheaper method has a higher average. Marks of {SIDE_BY_SIDE}."
    )
    if len(shown) < len(AXES):
        caption += f" Not recorded: {', '.join(cost.name for cost in AXES if cost not in shown)}."
    if left_out:
        caption += f" Without a row on every task, so left out: {', '.join(left_out)}."
    return Picture(name, f"Averages and costs: {title}", caption, figure, marks.tips)


def _is_recorded(axis: Axis, averages: Sequence[Average]) -> bool:
    """Return whether the cost on an axis is known of any average."""
    return any(average.cost(axis.name) is not None for average in averages)


def _draw_panel(
    axis: Axes, cost: Axis, averages: Sequence[Average], styles: Mapping[str, LineStyle], marks: Marks
) -> None:
    """Draw every average whose cost is known, which is one at least, and the front of them."""
    known = {each.name: value for each in averages if (value := each.cost(cost.name)) is not None}
    places, zero = log_places(known)
    low, high = min(places.values()) / 1.6, 1.6 * max(places.values())
    positions = side_by_side(places, low, high)
    for average in averages:
        if average.name in positions:
            place = positions[average.name]
            look = {**styles[average.name], "linestyle": "none", "markersize": 6.5, "capsize": 2, "elinewidth": 0.8}
            axis.errorbar([place], [average.value], yerr=[average.sd] if average.sd else None, **look)
            marks.add(axis, place, average.value, _tip(average))
    draw_front(axis, [(places[each.name], each.value) for each in averages if each.name in places], high)
    scale_cost_axis(axis, cost.label, cost.unit, cost.suffix, low, high, zero)


def _tip(average: Average) -> str:
    spread = "" if average.sd is None else f" \N{PLUS-MINUS SIGN} {average.sd:.2f}"
    parameters = max(row.trained_params for row in average.rows)
    return f"{average.name}: {average.value:.2f}{spread} over {len(average.rows)} tasks, {parameters:,} parameters"
