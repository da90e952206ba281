"""`profile.png`: the intrinsic dimension of each layer, as it was measured before a run; no torch, readable in grey."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.allocation.layer_checks import weak_layers
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.registries import RUN_PICTURES
from gelora_cli.plots.base import RunData, RunPicture
from gelora_cli.plots.style import DARK, INK, LIGHT, MIDDLE, LineStyle, end_of, head, new_figure, number_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WEAK_MARKS = {
    "constant": ("X", "constant, so 0"),
    "mostly duplicates": ("P", "mostly duplicates"),
    "fewer points": ("v", "far fewer points than beside it"),
}
"""Why an idim says little of the task, with its marker and its words in the legend."""


@RUN_PICTURES.register
class ProfilePicture(RunPicture):
    """The idim profile that a run's ranks follow."""

    name = "profile"

    def draw(self, run: RunData) -> Figure | None:
        """Draw the profile, where the run has one."""
        return None if run.profile is None else profile_figure(run.profile)


def profile_figure(profile: IdProfile) -> Figure:
    """Draw idim per layer with its 95 % interval.

    The means over the disjoint parts of N/2 and N/4 examples stand beside it where they were measured: an estimate that
    falls with N is not stable.
    """
    figure, (axis,) = new_figure(height_inches=4.6, panels=(1,))
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
    axis.set_xlabel("layer (0 = input of block 1, i = output of block i)")
    axis.set_ylabel("intrinsic dimension")
    part_means = [value for value in (*halves, *quarters) if value is not None]
    axis.set_ylim(0, 1.08 * max([*high, *idims, *part_means, 1.0]))  # at least 1: a constant model has idim 0
    number_ticks(axis, layers)
    origin = f"{profile.task}, {end_of(profile.model)}, N = {profile.examples_used:,} examples"
    head(axis, "Intrinsic dimension of the hidden states (TwoNN)", origin)
    return figure


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
