"""`curve.png`: training loss and evaluations of a run, from `metrics.jsonl`; no torch, readable in grey."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.registries import RUN_PICTURES
from gelora_cli.plots.base import RunData, RunPicture
from gelora_cli.plots.report_curves import MOST_POINTS, Line, logged_losses, thin
from gelora_cli.plots.report_rows import Points
from gelora_cli.plots.style import (
    DARK,
    GRID,
    INK,
    MIDDLE,
    LineStyle,
    as_written,
    end_of,
    figure_head,
    line_style,
    new_figure,
    step_ticks,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW_POINTS = 30
"""Points up to which each has a marker; those of a longer line would touch."""
LOGGED: LineStyle = {"color": MIDDLE, "linewidth": 0.6, "label": "as logged"}
SMOOTHED: LineStyle = {"color": DARK, "linewidth": 1.6, "label": "mean over neighbouring steps"}
POINTS: LineStyle = {"color": DARK, "linewidth": 1.6, "marker": "o", "markersize": 4, "label": "training loss"}
SAVED: LineStyle = {"color": INK, "linestyle": "none", "marker": "o", "markersize": 12, "fillstyle": "none"}


@RUN_PICTURES.register
class CurvePicture(RunPicture):
    """The loss of a run, and the reported metric at each evaluation."""

    name = "curve"
    caption = "Training loss, and the reported metric at each evaluation; a ring around the saved weights."
    after_training = True

    def draw(self, run: RunData) -> Figure | None:
        """Draw the run, where it has logged anything."""
        if run.result is None or not logged_losses(run.metrics):
            return None
        return curve_figure(run.metrics, run.result)


def curve_figure(lines: Sequence[Line], result: RunResult) -> Figure:
    """Draw the training loss over the optimizer steps, and below it the reported metric of each evaluated split.

    A line of the loss with more points than can be told apart has the means over neighbouring steps, too. A ring marks
    the evaluation of the weights that are saved.
    """
    splits = list(dict.fromkeys(line["split"] for line in lines if result.reported in line and "split" in line))
    panels = (1, 1) if splits else (1,)
    figure, axes = new_figure(height_inches=2.0 + 2.1 * len(panels), panels=panels)
    _draw_losses(axes[0], logged_losses(lines))
    axes[0].set_ylabel("training loss")
    if splits:
        _draw_evaluations(axes[1], lines, splits, result)
        axes[1].set_ylabel(result.reported.replace("_", " "), parse_math=False)
        axes[1].sharex(axes[0])  # an evaluation stands below the losses before it
        as_written(axes[1].legend(loc="best", frameon=False, fontsize=9).get_texts())
    _mark_epochs(axes, lines)
    axes[-1].set_xlabel("optimizer step; a line at the end of each epoch")
    step_ticks(axes[-1])
    text = f"{result.task}, {end_of(result.model)}, {result.method}, budget {result.budget}, seed {result.seed}"
    figure_head(figure, "Training", text, legend_of=axes[0])
    return figure


def _draw_losses(axis: Axes, points: Points) -> None:
    """Draw the losses: each with a marker while they are few, and with a smoother line where they are many."""
    steps, losses = zip(*points, strict=True)
    if len(points) <= MOST_POINTS:
        marker = POINTS if len(points) <= FEW_POINTS else POINTS | {"marker": ""}
        axis.plot(steps, losses, **marker)
        return
    axis.plot(steps, losses, **LOGGED)
    axis.plot(*zip(*thin(points), strict=True), **SMOOTHED)


def _draw_evaluations(axis: Axes, lines: Sequence[Line], splits: Sequence[str], result: RunResult) -> None:
    """Draw the reported metric of each split, and a ring around the reported value of the saved weights."""
    metric = result.reported
    for number, split in enumerate(splits):
        style = line_style(number % 6)
        of_split = [line for line in lines if line.get("split") == split and metric in line]
        axis.plot([line["step"] for line in of_split], [line[metric] for line in of_split], label=split, **style)
    reported = result.results[0].split
    saved = [
        (line["step"], line[metric])
        for line in lines
        if line.get("split") == reported and line.get("epoch") == result.train.selected_epoch and metric in line
    ]
    if saved:
        axis.plot(*zip(*saved[-1:], strict=True), label="saved weights", **SAVED)
    axis.margins(y=0.15)


def _mark_epochs(axes: Sequence[Axes], lines: Sequence[Line]) -> None:
    """Draw a thin line where an epoch ends, unless they are too many to be told apart."""
    last_steps: dict[int, int] = {}
    for line in lines:
        if "epoch" in line and "step" in line:
            last_steps[line["epoch"]] = max(line["step"], last_steps.get(line["epoch"], 0))
    ends = [step for epoch, step in last_steps.items() if epoch > 0]
    if len(ends) <= FEW_POINTS:
        for axis in axes:
            for step in ends:
                axis.axvline(step, color=GRID, linewidth=0.8, zorder=0)
