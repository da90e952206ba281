"""`track.png`: idim and stable ranks during a fine-tuning, from `metrics.jsonl`; no torch, readable in grey."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.registries import RUN_PICTURES
from gelora_cli.plots.base import RunData, RunPicture
from gelora_cli.plots.style import (
    DARK,
    INK,
    LIGHT,
    MIDDLE,
    LineStyle,
    end_of,
    head,
    new_figure,
    number_ticks,
    step_ticks,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIRST: LineStyle = {"color": MIDDLE, "linestyle": "--", "marker": "s", "markerfacecolor": "white"}
LAST: LineStyle = {"color": DARK, "linestyle": "-", "marker": "o"}
SHIFT = 0.06  # of a layer: the bars of the first and the last snapshot stand beside each other

Values = tuple[float | None, ...]

CAVEATS = """\
Stable ranks (|A|_F^2 / |A|_2^2) bound the rank from below and are not the rank; Jacobians are those at a few tokens
of short texts; idim is that of the probe's examples: compare it within this picture only. Conjecture 3.1 of GeLoRA,
whose exact statement is not known to us, expects the gap between idim and the Jacobian's rank to shrink as training
goes on: a run can agree with that, and not prove it."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One row of the picture: a measured value with its interval, one number for each layer or block.

    Attributes:
        key: the key of the values in a snapshot.
        low: the key of the lower ends of their intervals; empty where there are none.
        high: the key of the upper ends.
        label: the name of the axis.
        unit: `layer` or `block`, of which there is one value each.
        first: the number of the first one; layers count from 0, blocks from 1.
    """

    key: str
    low: str = ""
    high: str = ""
    label: str
    unit: str
    first: int


MEASURES = (
    Measure(key="idims", low="idim_low", high="idim_high", label="idim", unit="layer", first=0),
    Measure(
        key="jacobian_stable_ranks",
        low="jacobian_low",
        high="jacobian_high",
        label="stable rank\nof the Jacobian",
        unit="block",
        first=1,
    ),
    Measure(key="update_stable_ranks", label="stable rank\nof the update", unit="block", first=1),
)


@dataclass(frozen=True)
class Snapshot:
    """What was measured after `step` optimizer steps; `values` by the keys of `GeometryProbe.measure`."""

    step: int
    epoch: int
    values: dict[str, Values]

    def present(self, key: str) -> list[float]:
        """Return the values of a key, without those that could not be measured."""
        return [value for value in self.values.get(key, ()) if value is not None]


@RUN_PICTURES.register
class TrajectoryPicture(RunPicture):
    """The geometry of a run that was watched by the probe."""

    name = "track"
    caption = "Idim and stable ranks during training: over the steps, and by layer at the first and the last of them."
    after_training = True

    def draw(self, run: RunData) -> Figure | None:
        """Draw what the probe measured, where it did."""
        snapshots = read_snapshots(run.metrics)
        if run.result is None or not snapshots:
            return None
        return trajectory_figure(snapshots, run.result)


def read_snapshots(lines: Iterable[dict[str, Any]]) -> list[Snapshot]:
    """Return the snapshots in the lines of a `metrics.jsonl`, in the order of their steps."""
    snapshots = []
    for line in lines:
        if "track" in line:
            values = {key: tuple(measured) for key, measured in line["track"].items()}
            snapshots.append(Snapshot(line["step"], line["epoch"], values))
    return snapshots


def trajectory_figure(snapshots: Sequence[Snapshot], result: RunResult) -> Figure:
    """Draw a row per measure: over the optimizer steps at the left, by layer or block at the right.

    Over the steps stand mean and range over the layers. By layer stand the first and the last snapshot, with bars that
    span the 95 % interval of the idim, and of the Jacobian's stable rank the probe tokens. A measure that a method does
    not have, such as the update of a linear's weight where only biases train, has no row.
    """
    keys = set().union(*(snapshot.values for snapshot in snapshots))  # not every snapshot has every key
    measures = [measure for measure in MEASURES if measure.key in keys]
    height = 2.0 + 2.1 * len(measures)
    figure, axes = new_figure(height, (1,) * len(measures), columns=2)
    for row, measure in enumerate(measures):
        left, right = axes[2 * row : 2 * row + 2]
        _draw_over_steps(left, snapshots, measure)
        _draw_first_and_last(right, snapshots, measure)
    text = f"{result.task}, {end_of(result.model)}, {result.method}, budget {result.budget}, seed {result.seed}"
    head(axes[0], "Geometry during fine-tuning", text)
    figure.supxlabel(CAVEATS, fontsize=7.5, color=INK, x=0.01, ha="left")
    return figure


def _draw_over_steps(axis: Axes, snapshots: Sequence[Snapshot], measure: Measure) -> None:
    """Draw the mean over layers or blocks against the step, and the range that they span."""
    measured = [snapshot for snapshot in snapshots if snapshot.present(measure.key)]
    steps = [snapshot.step for snapshot in measured]
    values = [snapshot.present(measure.key) for snapshot in measured]
    low, high = list(map(min, values)), list(map(max, values))
    axis.fill_between(steps, low, high, color=LIGHT, alpha=0.6, linewidth=0, label=f"range over {measure.unit}s")
    if len(steps) == 1:  # an area over one step has no width
        axis.vlines(steps, low, high, color=LIGHT, linewidth=4)
    means = [sum(at_step) / len(at_step) for at_step in values]
    axis.plot(steps, means, color=DARK, marker="o", markersize=4, label="mean")
    last = max(snapshots[-1].step, 1)
    axis.set(xlabel="optimizer step", xlim=(-0.04 * last, 1.04 * last))
    step_ticks(axis)
    axis.set(ylabel=measure.label, ylim=(0, 1.08 * max([*high, 1.0])))


def _draw_first_and_last(axis: Axes, snapshots: Sequence[Snapshot], measure: Measure) -> None:
    """Draw the first snapshot that has any values, and the last, by layer or block."""
    measured = [snapshot for snapshot in snapshots if snapshot.present(measure.key)]
    highest = 1.0
    if measured:
        highest = max(highest, _draw_snapshot(axis, measured[0], measure, -SHIFT, FIRST))
    if len(measured) > 1:  # of an interrupted run there may be one snapshot alone
        highest = max(highest, _draw_snapshot(axis, measured[-1], measure, SHIFT, LAST))
    axis.set(xlabel=_unit_name(measure, measured), ylim=(0, 1.08 * highest))
    length = max((len(snapshot.values[measure.key]) for snapshot in measured), default=1)
    number_ticks(axis, range(measure.first, measure.first + length))
    if measured:
        axis.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, frameon=False, fontsize=9)


def _unit_name(measure: Measure, measured: Sequence[Snapshot]) -> str:
    """Return what the axis counts: of blocks that run several times, the passes, where a measure has one value each."""
    if measure.unit == "block" and any(_has_passes(snapshot, measure) for snapshot in measured):
        return "pass through a block"
    return measure.unit


def _has_passes(snapshot: Snapshot, measure: Measure) -> bool:
    """Return whether there are more values than blocks, whose number that of the updates is."""
    blocks = len(snapshot.values.get("update_stable_ranks", ()))
    return 0 < blocks < len(snapshot.values.get(measure.key, ()))


def _draw_snapshot(axis: Axes, snapshot: Snapshot, measure: Measure, shift: float, style: LineStyle) -> float:
    """Draw one snapshot's line with its bars; return the highest value, so that the axis can hold it."""
    first_position = measure.first + shift
    line = _by_position(snapshot.values.get(measure.key, ()), first_position)
    low = _by_position(snapshot.values.get(measure.low, ()), first_position)
    high = _by_position(snapshot.values.get(measure.high, ()), first_position)
    axis.plot(list(line), list(line.values()), markersize=4, label=f"step {snapshot.step}", **style)
    bars = [position for position in line if position in low and position in high]
    axis.vlines(bars, [low[position] for position in bars], [high[position] for position in bars], color=style["color"])
    return max([*line.values(), *high.values()], default=0.0)


def _by_position(values: Values, first: float) -> dict[float, float]:
    """Return the values that were measured by their position on the axis."""
    return {first + index: value for index, value in enumerate(values) if value is not None}
