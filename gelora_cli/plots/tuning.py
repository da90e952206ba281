"""`study.png`: what `gelora tune` found, mostly value over learning rate, a panel a method; no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.core.artifacts.study import MethodStudy, SearchedKey, Study, Trial
from gelora_cli.plots.style import (
    GRID,
    INK,
    LIGHT,
    MIDDLE,
    LineStyle,
    as_written,
    end_of,
    figure_head,
    method_styles,
    new_figure,
    write_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RATE = "train.learning_rate"
ALERT = "#7700ee"
"""The colour of an edge that the best trial lies on: no method has it, also as seen without red, green or blue."""

MOST_COLUMNS = 3
PANEL_INCHES, ROW_INCHES = 2.0, 0.5
"""Height of a panel, and of its axis and names."""
STRIP = 0.2
"""Share of a panel's height, at its foot, for trials without a value on the axis."""
COLLAPSED_PLACE, FAILED_PLACE = 0.125, 0.045
"""Heights in the strip, as shares of the panel."""

OTHERS: LineStyle = {"color": LIGHT, "marker": ".", "linestyle": "none", "markersize": 4, "zorder": 1}
RING: LineStyle = {"marker": "o", "linestyle": "none", "markersize": 13, "fillstyle": "none", "markeredgewidth": 1.6}
COLLAPSED: LineStyle = {"marker": "x", "linestyle": "none", "markersize": 5, "markeredgewidth": 1.3}
FAILED: LineStyle = {"marker": "+", "linestyle": "none", "markersize": 6, "markeredgewidth": 1.3}
EDGE: LineStyle = {"color": MIDDLE, "linestyle": (0, (4, 3)), "linewidth": 1.0, "zorder": 1}
ON_EDGE: LineStyle = {"color": ALERT, "linestyle": "-", "linewidth": 2.2, "zorder": 1}
WIDENED: LineStyle = {"color": GRID, "alpha": 0.8, "linewidth": 0, "zorder": 0}


def draw_study(study: Study, path: Path) -> None:
    """Write the picture of a study as PNG or, by the path's ending, as SVG; whole or not at all."""
    write_figure(study_figure(study), path)


def study_figure(study: Study) -> Figure:
    """Draw each method's trials in a panel of its own, over the learning rate or else the first number it searches.

    Panels over the same key have the same axes, with the other methods' trials as dots behind. A panel shows the
    searched range with its ends, the part that was added to it, the best trial in a ring, and an end that the best
    trial lies on in another colour. Collapsed and failed trials are marked in a strip at the foot, where they have a
    place on the axis but no height.
    """
    count = len(study.methods)
    columns = min(count, 2 if count in (2, 4) else MOST_COLUMNS)
    rows = math.ceil(count / columns)
    height = PANEL_INCHES * (1.5 if rows == 1 else 1) + ROW_INCHES
    figure, axes = new_figure(rows * height + 0.7, panels=(1,) * rows, columns=columns)
    for axis in axes[count:]:
        axis.set_visible(False)
    styles = method_styles(method.method for method in study.methods)
    limits = _value_limits(study)
    keys = [_key(method) for method in study.methods]
    for number, (axis, method, key) in enumerate(zip(axes, study.methods, keys, strict=False)):
        alike = [other for other in study.methods if _key(other) == key]
        _draw_others(axis, [other for other in alike if other is not method], key)
        _draw_range(axis, method)
        _draw_trials(axis, method, styles[number])
        _scale(axis, alike, key, limits)
        # One name at the foot of each column says it for all where their keys are the same.
        has_name = len(set(keys)) > 1 or number + columns >= count
        axis.tick_params(labelbottom=has_name, labelleft=number % columns == 0, labelsize=8)
        if has_name:
            axis.set_xlabel(_axis_name(key), fontsize=9, parse_math=False)
        if number % columns == 0:
            axis.set_ylabel(study.reported, fontsize=9, parse_math=False)
        _name(axis, method)
    _add_legend(axes[0], study)
    over = "learning rate" if set(keys) == {RATE} else "what was searched"
    figure_head(figure, f"Value over {over}", _subtitle(study), legend_of=axes[0])
    return figure


def _axis_name(key: str) -> str:
    return "learning rate" if key == RATE else key or "trial"


def _key(method: MethodStudy) -> str:
    """Return the key of a method's horizontal axis: the learning rate, or else the first number that it searches."""
    names = [entry.key for entry in method.space if not entry.choices]
    return RATE if RATE in names else next(iter(names), "")


def _searched(method: MethodStudy, key: str) -> SearchedKey | None:
    return next((entry for entry in method.space if entry.key == key and not entry.choices), None)


def _place(trial: Trial, key: str) -> float:
    """Return where a trial stands on the horizontal axis."""
    return float(trial.values.get(key, trial.number))


def _has_height(trial: Trial) -> bool:
    return trial.value is not None and not trial.collapsed


def _value_limits(study: Study) -> tuple[float, float]:
    """Return the lowest and highest value of all trials that did not collapse."""
    values = [trial.value for method in study.methods for trial in method.trials if _has_height(trial)]
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else (0.0, 1.0)


def _scale(axis: Axes, methods: Sequence[MethodStudy], key: str, limits: tuple[float, float]) -> None:
    """Give a panel the axes of all over its key: the ranges of these methods, and room for the strip below the values.

    Args:
        axis: the panel.
        methods: those whose panels are over the same key.
        key: what is searched along the horizontal axis; empty for the number of the trial.
        limits: the lowest and the highest value of the study.
    """
    from matplotlib.ticker import MaxNLocator

    low, high = limits
    margin = 0.08 * (high - low) or 0.01
    top, bottom = high + 2 * margin, low - margin
    axis.set_ylim(bottom - STRIP / (1 - STRIP) * (top - bottom), top)
    axis.set_yticks([tick for tick in MaxNLocator(4).tick_values(bottom, top) if bottom < tick < top])
    axis.axhline(bottom, color=MIDDLE, linewidth=0.6, zorder=0)
    entries = [entry for method in methods if (entry := _searched(method, key)) is not None]
    if not entries:
        return
    first, last = min(entry.low or 0.0 for entry in entries), max(entry.high or 0.0 for entry in entries)
    if any(entry.log for entry in entries):
        factor = (last / first) ** 0.06
        axis.set_xscale("log")
        axis.set_xlim(first / factor, last * factor)
    else:
        axis.set_xlim(first - 0.06 * (last - first), last + 0.06 * (last - first))


def _draw_others(axis: Axes, others: Sequence[MethodStudy], key: str) -> None:
    """Draw the trials of other methods as dots, so that panels can be compared."""
    trials = [trial for other in others for trial in other.trials if _has_height(trial)]
    axis.plot([_place(trial, key) for trial in trials], [trial.value or 0.0 for trial in trials], **OTHERS)


def _draw_range(axis: Axes, method: MethodStudy) -> None:
    """Draw the ends of the searched range, and shade what was added to it."""
    searched = _searched(method, _key(method))
    if searched is None or searched.low is None or searched.high is None:
        return
    side = edge_side(method, searched)
    axis.axvline(searched.low, **(ON_EDGE if side == "low" else EDGE))
    axis.axvline(searched.high, **(ON_EDGE if side == "high" else EDGE))
    if searched.first_low is not None and searched.first_low > searched.low:
        axis.axvspan(searched.low, searched.first_low, **WIDENED)
    if searched.first_high is not None and searched.first_high < searched.high:
        axis.axvspan(searched.first_high, searched.high, **WIDENED)


def edge_side(method: MethodStudy, searched: SearchedKey) -> str:
    """Return the end of a range that the best trial lies on, `low` or `high`; empty where it lies on none."""
    best = method.best_trial
    if best is None or searched.key not in method.at_edge or searched.low is None or searched.high is None:
        return ""
    value = float(best.values[searched.key])
    if searched.log:
        return "low" if value**2 < searched.low * searched.high else "high"
    return "low" if 2 * value < searched.low + searched.high else "high"


def _draw_trials(axis: Axes, method: MethodStudy, style: LineStyle) -> None:
    """Draw a method's trials, the best in a ring, and those without a height in the strip."""
    key = _key(method)
    marker = {**style, "linestyle": "none"}
    done = [trial for trial in method.trials if _has_height(trial)]
    axis.plot([_place(trial, key) for trial in done], [trial.value or 0.0 for trial in done], markersize=6, **marker)
    best = method.best_trial
    if best is not None and _has_height(best):
        color = ALERT if method.at_edge else INK
        axis.plot([_place(best, key)], [best.value or 0.0], color=color, **RING)
    strip = axis.get_xaxis_transform()  # heights as shares of the panel
    for trials, height, look in (
        ([trial for trial in method.trials if trial.collapsed], COLLAPSED_PLACE, COLLAPSED),
        ([trial for trial in method.trials if trial.status == "failed"], FAILED_PLACE, FAILED),
    ):
        places = [_place(trial, key) for trial in trials]
        axis.plot(places, [height] * len(places), color=style["color"], transform=strip, **look)


def _name(axis: Axes, method: MethodStudy) -> None:
    """Name a panel after its method, with the best trial and the keys whose best value lies on an edge below."""
    best = method.best_trial
    key = _key(method)
    lines = [end_of(method.label), "no trial is done"]
    if best is not None and best.value is not None:
        place = best.values.get(key)
        at = "" if place is None else f" at {float(place):.3g}{', on the edge' if key in method.at_edge else ''}"
        lines[1] = f"best {best.value:.4g}{at}"
    others = [other.rpartition(".")[2] for other in method.at_edge if other != key]
    if others:
        lines.append(f"{', '.join(others)} on the edge")
    color = ALERT if method.at_edge else INK
    as_written([axis.set_title("\n".join(lines), loc="left", fontsize=9, color=color, pad=3)])


def _add_legend(axis: Axes, study: Study) -> None:
    """Add the marks that the legend explains, as far as the study has them."""
    trials = [trial for method in study.methods for trial in method.trials]
    ranges = [entry for method in study.methods for entry in method.space]
    ink: LineStyle = {"color": INK}
    ring = RING | {"markersize": 9}
    axis.plot([], [], label="best of its method", **ink, **ring)
    if any(method.at_edge for method in study.methods):
        axis.plot([], [], label="best, on the edge", color=ALERT, **ring)
    if any(trial.collapsed for trial in trials):
        axis.plot([], [], label="collapsed", **ink, **COLLAPSED)
    if any(trial.status == "failed" for trial in trials):
        axis.plot([], [], label="failed", **ink, **FAILED)
    axis.plot([], [], label="searched range", **EDGE)
    if any(entry.widened for entry in ranges):
        axis.fill_between([], [], label="made wider", **WIDENED)
    if len(study.methods) > 1:
        axis.plot([], [], label="other methods", **{**OTHERS, "markersize": 7})


def _subtitle(study: Study) -> str:
    """Return task, model and budget, and what the values are of."""
    counts = _trial_counts(study.methods)
    rows = "held-out training rows" if study.examples is None else f"{study.examples:,} held-out training rows"
    return f"{study.task}, {study.model}, budget {study.budget}; {counts} for each method; {study.reported} on {rows}"


def _trial_counts(methods: Sequence[MethodStudy]) -> str:
    counts = sorted({method.ended_trials for method in methods})
    return f"{counts[0]} trials" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} trials"
