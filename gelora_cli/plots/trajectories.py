"""The courses of idim and stable ranks during a fine-tuning, from `metrics.jsonl`; no torch, readable in grey."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.plots.style import DARK, INK, LIGHT, MIDDLE, end_of, head, new_figure, number_ticks, write_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES: tuple[dict[str, Any], ...] = (
    {"color": MIDDLE, "linestyle": "--", "marker": "s", "markerfacecolor": "white"},
    {"color": DARK, "linestyle": "-", "marker": "o"},
)
BESIDE = 0.06  # of a layer: the bars of two moments stand beside each other
Values = tuple[float | None, ...]
CAVEATS = """\
Stable ranks (|A|_F^2 / |A|_2^2) bound the rank from below and are not the rank; Jacobians are those at a few tokens
of short texts; idim is that of the probe's examples: compare it within this picture only. Conjecture 3.1 of GeLoRA,
whose exact statement is not known to us, expects the gap between idim and the Jacobian's rank to shrink as training
goes on: a run can agree with that, and not prove it."""


@dataclass(frozen=True)
class Measure:
    """One row of the picture: keys of the values and of both ends of their interval, and how they are named."""

    key: str
    low: str
    high: str
    label: str
    first: int
    place: str


MEASURES = (
    Measure("idims", "idim_low", "idim_high", "idim (TwoNN)", 0, "layer"),
    Measure("jacobian_stable_ranks", "jacobian_low", "jacobian_high", "stable rank\nof the Jacobian", 1, "block"),
    Measure("update_stable_ranks", "", "", "stable rank\nof the update", 1, "block"),
)


@dataclass(frozen=True)
class Moment:
    """What was measured after `step` optimizer steps; `values` by the keys of `GeometryProbe.measure`."""

    step: int
    epoch: int
    values: dict[str, Values]


def read_track(path: Path) -> list[Moment]:
    """The tracked moments in a `metrics.jsonl`, in the order of their steps; none where nothing was tracked."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Moment(line["step"], line["epoch"], {key: tuple(values) for key, values in line["track"].items()})
        for line in lines
        if "track" in line
    ]


def plot_track(moments: Sequence[Moment], result: RunResult, path: Path) -> None:
    """Write the courses as a PNG, whole or not at all."""
    write_figure(track_figure(moments, result), path)


def track_figure(moments: Sequence[Moment], result: RunResult) -> Figure:
    """A row per measure: its mean and range over the optimizer steps, and by layer the first and the last moment.

    By layer bars span the 95 % interval of the idim, and of the Jacobian's stable rank the probe tokens. A measure
    that a method does not have, as the update of a linear's weight where only biases train, has no row.
    """
    measures = [measure for measure in MEASURES if any(measure.key in moment.values for moment in moments)]
    height = 2.0 + 2.1 * len(measures)
    figure, axes = new_figure(height, (1,) * len(measures), columns=2)
    for row, measure in enumerate(measures):
        over_steps, by_place = axes[2 * row : 2 * row + 2]
        _over_steps(over_steps, moments, measure)
        _by_place(by_place, moments, measure)
    text = f"{result.task}, {end_of(result.model)}, {result.method}, budget {result.budget}, seed {result.seed}"
    head(axes[0], "Geometry during fine-tuning", text)
    figure.supxlabel(CAVEATS, fontsize=7.5, color=INK, x=0.01, ha="left")
    return figure


def _over_steps(axis: Axes, moments: Sequence[Moment], measure: Measure) -> None:
    """Mean over layers or blocks against the step, and the range that they span."""
    found = [(moment.step, _there(moment.values.get(measure.key, ()))) for moment in moments]
    kept = [(step, values) for step, values in found if values]
    steps = [step for step, _ in kept]
    low, high = [min(values) for _, values in kept], [max(values) for _, values in kept]
    axis.fill_between(steps, low, high, color=LIGHT, alpha=0.6, linewidth=0, label=f"range over {measure.place}s")
    means = [sum(values) / len(values) for _, values in kept]
    axis.plot(steps, means, color=DARK, marker="o", markersize=4, label="mean")
    last = max(moments[-1].step, 1)
    axis.set(xlabel="optimizer step", xlim=(-0.04 * last, 1.04 * last))
    axis.set(ylabel=measure.label, ylim=(0, 1.08 * max([*high, 1.0])))


def _by_place(axis: Axes, moments: Sequence[Moment], measure: Measure) -> None:
    """The values of the first moment that has any, and of the last, by layer or block."""
    kept = [moment for moment in moments if _there(moment.values.get(measure.key, ()))]
    ends = [1.0]
    for moment, offset, style in zip(kept[:1] + kept[1:][-1:], (-BESIDE, BESIDE), STYLES, strict=False):
        ends += _line(axis, moment.values, measure, offset, style | {"label": f"step {moment.step}"})
    axis.set(xlabel=measure.place, ylim=(0, 1.08 * max(ends)))
    length = max((len(moment.values[measure.key]) for moment in kept), default=1)
    number_ticks(axis, range(measure.first, measure.first + length))
    if kept:
        axis.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, frameon=False, fontsize=9)


def _line(axis: Axes, values: dict[str, Values], measure: Measure, offset: float, style: dict[str, Any]) -> list[float]:
    """One moment's line with its bars; what is drawn, so that the axis can hold it."""
    first = measure.first + offset
    line, low, high = (_placed(values.get(key, ()), first) for key in (measure.key, measure.low, measure.high))
    axis.plot(list(line), list(line.values()), markersize=4, **style)
    bars = [place for place in line if place in low and place in high]
    axis.vlines(bars, [low[place] for place in bars], [high[place] for place in bars], color=style["color"])
    return [*line.values(), *high.values()]


def _placed(values: Values, first: float) -> dict[float, float]:
    """Where on the axis each value stands that is there."""
    return {first + place: value for place, value in enumerate(values) if value is not None}


def _there(values: Values) -> list[float]:
    return [value for value in values if value is not None]
