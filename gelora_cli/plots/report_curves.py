"""`curves-N`: loss and metric while the rows trained, as means over seeds; no torch, readable in grey."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np

from gelora_cli.core.registries import REPORT_PICTURES
from gelora_cli.plots.base import Picture, ReportPicture
from gelora_cli.plots.names import EdgeName, fit_at_ends, name_at_edge
from gelora_cli.plots.report_rows import (
    MOST_LINES,
    Points,
    bound,
    chunks,
    draw_curve,
    mean_over_seeds,
    metric_label,
    part_name,
    row_families,
    row_styles,
)
from gelora_cli.plots.style import LineStyle, figure_head, new_figure, step_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gelora_cli.report.rows import Row

Line = dict[str, Any]
"""A line of `metrics.jsonl`."""

REFERENCE = "lora"
"""Uniform LoRA, which every picture of a family repeats."""

MOST_POINTS = 60
"""Points of a line: more could not be told apart at the width of the picture."""


@REPORT_PICTURES.register
class CurvesPicture(ReportPicture):
    """Pictures of each family of rows, at most 6 rows in one."""

    name = "curves"

    def draw(self, rows: Sequence[Row]) -> Iterator[Picture]:
        """Draw the training loss, and below it the reported metric at each evaluation."""
        curves = {id(row): _curves(row) for row in rows}
        families = []
        for family in row_families(rows):
            if any(curves[id(row)].has_points for row in family.rows):
                families.append(family)
        for number, family in enumerate(families, start=1):
            styles = row_styles(family.rows)
            reference = [row for row in family.rows if row.method == REFERENCE][:1]
            others = [row for row in family.rows if row not in reference]
            parts = chunks(others, MOST_LINES - len(reference)) or [[]]
            for part, members in enumerate(parts):
                name = part_name(f"curves-{number}", part)
                yield _draw_rows(name, family.title, [*reference, *members], curves, styles)


@dataclass(frozen=True)
class Curves:
    """The logged losses of a row, thinned, and its reported metric at each evaluation, as means over seeds."""

    losses: Points
    evaluations: Points

    @property
    def has_points(self) -> bool:
        """Return whether there is anything to draw."""
        return bool(self.losses or self.evaluations)


def _draw_rows(
    name: str, title: str, rows: Sequence[Row], curves: Mapping[int, Curves], styles: dict[int, LineStyle]
) -> Picture:
    """Draw one picture; the styles come from the whole family, so that a row looks the same in all its pictures."""
    figure, (top, bottom) = new_figure(height_inches=6.4, panels=(1, 1))
    for row in rows:
        of_row, style = curves[id(row)], styles[id(row)]
        draw_curve(top, row, style, of_row.losses, marker_every=0.12)  # of the panel's width: losses are many
        draw_curve(bottom, row, style, of_row.evaluations, marker_every=1)
    top.set_ylabel("training loss")
    bottom.set_xlabel("optimizer step")
    bottom.set_ylabel(metric_label(rows[0]), parse_math=False)
    bottom.sharex(top)  # an evaluation stands below the losses before it
    step_ticks(bottom)
    has_end_names = fit_at_ends([row.name for row in rows])
    if has_end_names:
        for axis in (top, bottom):
            _name_ends(axis, rows, styles)
    legend_of = bottom if not top.lines else top
    subtitle = f"{title}; means over seeds"
    figure_head(figure, "Training", subtitle, legend_of=None if has_end_names else legend_of)
    names = ", ".join(row.name for row in rows)
    caption = f"Loss and {rows[0].metric} over steps, of {names}."
    return Picture(name, f"Training: {title}", caption, figure, task=rows[0].task, budget=bound(rows[0]))


def _name_ends(axis: Axes, rows: Sequence[Row], styles: dict[int, LineStyle]) -> None:
    """Write the name of each row at the last value of its line."""
    axis.margins(y=0.08)
    axis.autoscale(axis="y")
    looks = {row.name: styles[id(row)] for row in rows}
    names = []
    for line in axis.get_lines():
        last = float(np.asarray(line.get_ydata())[-1])
        names.append(EdgeName(str(line.get_label()), last, looks[str(line.get_label())]))
    name_at_edge(axis, names)


def _curves(row: Row) -> Curves:
    """Return the curves of a row; each run's lines are read once."""
    split, metric = row.runs[0].result.results[0].split, row.metric
    losses, evaluations = [], []
    for run in row.runs:
        lines = run.metric_lines()
        losses.append(logged_losses(lines))
        of_split = [line for line in lines if line.get("split") == split and metric in line]
        evaluations.append([(line["step"], line[metric]) for line in of_split])
    return Curves(thin(mean_over_seeds(losses)), mean_over_seeds(evaluations))


def logged_losses(lines: Sequence[Line]) -> Points:
    """Return step and loss of each line about the training; an evaluation may have a metric of that name, too."""
    return [(line["step"], line["loss"]) for line in lines if "loss" in line and "split" not in line]


def thin(points: Points) -> Points:
    """Return at most `MOST_POINTS` points: each the mean over neighbouring steps, at the last of them."""
    width = -(-len(points) // MOST_POINTS) or 1  # rounded up
    thinned = []
    for part in chunks(points, width):
        values = [value for _, value in part]
        thinned.append((part[-1][0], mean(values)))
    return thinned
