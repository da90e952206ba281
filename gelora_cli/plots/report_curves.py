"""`curves-N`: loss and metric while the rows trained, as means over seeds; no torch, readable in grey."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean
from typing import TYPE_CHECKING

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
        families = []
        for family in row_families(rows):
            if any(_losses(row) or _evaluations(row) for row in family.rows):
                families.append(family)
        for number, family in enumerate(families, start=1):
            styles = row_styles(family.rows)
            reference = [row for row in family.rows if row.method == REFERENCE][:1]
            others = [row for row in family.rows if row not in reference]
            parts = chunks(others, MOST_LINES - len(reference)) or [[]]
            for part, members in enumerate(parts):
                name = part_name(f"curves-{number}", part)
                yield _draw_rows(name, family.title, [*reference, *members], styles)


def _draw_rows(name: str, title: str, rows: Sequence[Row], styles: dict[int, LineStyle]) -> Picture:
    """Draw one picture; the styles come from the whole family, so that a row looks the same in all its pictures."""
    figure, (top, bottom) = new_figure(height_inches=6.4, panels=(1, 1))
    for row in rows:
        draw_curve(top, row, styles[id(row)], _losses(row), marker_every=0.12)  # of the panel's width: losses are many
        draw_curve(bottom, row, styles[id(row)], _evaluations(row), marker_every=1)
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


def _losses(row: Row) -> Points:
    """Return the logged losses, thinned."""
    curves = []
    for run in row.runs:
        # An evaluation's lines have a split, and perhaps a metric that is called `loss`, too.
        read = [line for line in run.metric_lines() if "loss" in line and "split" not in line]
        curves.append([(line["step"], line["loss"]) for line in read])
    return thin(mean_over_seeds(curves))


def _evaluations(row: Row) -> Points:
    """Return the reported metric on the reported split at each evaluation."""
    split, metric = row.runs[0].result.results[0].split, row.metric
    curves = []
    for run in row.runs:
        read = [line for line in run.metric_lines() if line.get("split") == split and metric in line]
        curves.append([(line["step"], line[metric]) for line in read])
    return mean_over_seeds(curves)


def thin(points: Points) -> Points:
    """Return at most `MOST_POINTS` points: each the mean over neighbouring steps, at the last of them."""
    width = -(-len(points) // MOST_POINTS) or 1  # rounded up
    thinned = []
    for part in chunks(points, width):
        values = [value for _, value in part]
        thinned.append((part[-1][0], mean(values)))
    return thinned
