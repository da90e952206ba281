"""`profile.png`: the intrinsic dimension of each layer, as it was measured before a run; no torch, readable in grey."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.allocation.layer_checks import weak_layers
from gelora_cli.core.artifacts.profile import DEFAULT_PRECISION, IdProfile
from gelora_cli.core.registries import RUN_PICTURES
from gelora_cli.geometry.scale_rules import plateau
from gelora_cli.plots.base import RunData, RunPicture
from gelora_cli.plots.profiles import CONTROL_LABELS, estimator_name
from gelora_cli.plots.scales import draw_sample_sizes, draw_scales, legend_entries
from gelora_cli.plots.shared_blocks import draw_block_spans, layer_axis_label
from gelora_cli.plots.style import (
    DARK,
    INK,
    LEGEND_STYLE,
    LIGHT,
    MIDDLE,
    LineStyle,
    end_of,
    figure_of_rows,
    head,
    legend_columns,
    new_figure,
    number_ticks,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WEAK_MARKS = {
    "constant": ("X", "constant, so 0"),
    "few states": ("*", "few states, so 0"),
    "mostly duplicates": ("P", "mostly duplicates"),
    "fewer points": ("v", "far fewer points than beside it"),
}
"""Why an idim says little of the task, with its marker and its words in the legend."""


@RUN_PICTURES.register
class ProfilePicture(RunPicture):
    """The idim profile that a run's ranks follow."""

    name = "profile"
    caption = "Intrinsic dimension of each layer with its 95 % interval, before training."

    def draw(self, run: RunData) -> Figure | None:
        """Draw the profile, where the run has one."""
        return None if run.profile is None else profile_figure(run.profile)


def profile_figure(profile: IdProfile) -> Figure:
    """Draw idim per layer with its 95 % interval, and where they were measured idim against two kinds of scale.

    The means over the disjoint parts of N/2 and N/4 examples stand beside it where they were measured: an estimate that
    falls with N is not stable. A profile with scales has two panels below: idim against the size of the neighbourhood,
    and against the number of texts.
    """
    if not any(row.scales for row in profile.layers):
        figure, (axis,) = new_figure(height_inches=4.6, panels=(1,))
        _draw_layers(axis, profile)
        return figure
    rows = (("layers", "layers"), ("scales", "samples"))
    figure, axes = figure_of_rows(height_inches=8.2, rows=rows, heights=(1.15, 1))
    draw_scales(axes["scales"], profile, _plateaus(profile))
    draw_sample_sizes(axes["samples"], profile)
    for name in ("scales", "samples"):
        axes[name].set_ylim(bottom=0)  # the ratio of heights counts
    handles, labels = legend_entries(axes["scales"])
    figure.legend(handles, labels, loc="outside lower left", ncols=legend_columns(labels), **LEGEND_STYLE)
    _draw_layers(axes["layers"], profile)
    return figure


def _plateaus(profile: IdProfile) -> dict[int, tuple[int, int]]:
    """Return the first and the last n1 of the plateau of each layer that has one."""
    runs = {row.layer: plateau(row.scales) for row in profile.layers}
    return {layer: run for layer, run in runs.items() if run is not None}


def _draw_layers(axis: Axes, profile: IdProfile) -> None:
    """Draw idim per layer."""
    layers, idims = [row.layer for row in profile.layers], [row.idim for row in profile.layers]
    low, high = [row.low for row in profile.layers], [row.high for row in profile.layers]
    axis.plot(layers, idims, color=DARK, marker="o", markersize=5, label="idim at N", clip_on=False)
    axis.fill_between(layers, low, high, color=LIGHT, alpha=0.5, linewidth=0, label="95 % interval")
    axis.vlines(layers, low, high, color=DARK, linewidth=1)
    halves = [row.half for row in profile.layers]
    quarters = [row.quarter for row in profile.layers]
    _draw_part_means(axis, layers, halves, "s", "mean at N/2")
    _draw_part_means(axis, layers, quarters, "^", "mean at N/4")
    _mark_weak_layers(axis, profile)
    axis.set_xlabel(layer_axis_label([profile.model_map]))
    draw_block_spans(axis, profile.model_map)
    axis.set_ylabel("intrinsic dimension")
    part_means = [value for value in (*halves, *quarters) if value is not None]
    axis.set_ylim(0, 1.08 * max([*high, *idims, *part_means, 1.0]))  # at least 1: a constant model has idim 0
    number_ticks(axis, layers)
    head(axis, f"Intrinsic dimension of the hidden states ({estimator_name(profile)})", describe_points(profile))


def describe_points(profile: IdProfile) -> str:
    """Return what was measured: task, model, number of examples, and what is not usual about it."""
    parts = [profile.task, end_of(profile.model), f"N = {profile.examples_used:,} examples"]
    if profile.settings.tokens is not None:
        parts.append(f"{profile.settings.tokens} tokens of each")
    if profile.settings.precision != DEFAULT_PRECISION:
        parts.append(profile.settings.precision)
    if profile.settings.control is not None:
        parts.append(CONTROL_LABELS[profile.settings.control])
    return ", ".join(parts)


def _draw_part_means(axis: Axes, layers: Sequence[int], means: Sequence[float | None], marker: str, label: str) -> None:
    """Draw the means over parts of the examples, where the parts were large enough to be measured."""
    measured = [(layer, mean) for layer, mean in zip(layers, means, strict=True) if mean is not None]
    if measured:
        (line,) = axis.plot(*zip(*measured, strict=True), linestyle="none", marker=marker, markersize=5, label=label)
        line.set(markerfacecolor="white", markeredgecolor=MIDDLE)


def _mark_weak_layers(axis: Axes, profile: IdProfile) -> None:
    """Mark the layers whose idim says little of the task, a symbol per reason."""
    weak = weak_layers(profile.layers)
    style: LineStyle = {"linestyle": "none", "color": INK, "markersize": 9, "clip_on": False, "zorder": 4}
    for mark, (symbol, label) in WEAK_MARKS.items():
        marked = [layer.layer for layer in weak if layer.mark == mark]
        idims = [row.idim for row in profile.layers if row.layer in marked]
        if marked:
            axis.plot(marked, idims, marker=symbol, label=label, **style)
