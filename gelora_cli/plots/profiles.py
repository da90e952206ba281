"""Several idim profiles in one picture, as before and after intermediate-task tuning; no torch, readable in grey."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.plots.shared_blocks import layer_axis_label
from gelora_cli.plots.style import DARK, INK, MIDDLE, LineStyle, end_of, head, new_figure, number_ticks, write_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES: tuple[LineStyle, ...] = (
    {"color": MIDDLE, "linestyle": "--", "marker": "s", "markerfacecolor": "white"},
    {"color": DARK, "linestyle": "-", "marker": "o"},
    {"color": INK, "linestyle": ":", "marker": "^"},
    {"color": DARK, "linestyle": "-.", "marker": "D", "markerfacecolor": "white"},
    {"color": MIDDLE, "linestyle": "-", "marker": "v"},
)
CONTROL_LABELS = {"untrained": "untrained weights", "shuffled": "shuffled tokens"}
"""How a control is called in a picture, by `profile.control`."""
SPREAD = 0.12
"""Distance between neighbouring lines, in layers, so that their intervals don't cover each other."""


def estimator_name(profile: IdProfile) -> str:
    """Return the estimator of a profile: TwoNN, or GRIDE with the neighbour at which it was read."""
    if profile.settings.estimator != "gride":
        return "TwoNN"
    scale = profile.scale or profile.settings.scale
    return "GRIDE" if scale is None else f"GRIDE, n1 = {scale}"


def plot_profiles(profiles: Mapping[str, IdProfile], path: Path) -> None:
    """Write profiles by their labels as a PNG; a process that is killed leaves no partial file."""
    write_figure(profiles_figure(profiles), path)


def profiles_figure(profiles: Mapping[str, IdProfile], styles: Sequence[LineStyle] = STYLES) -> Figure:
    """Draw a panel per task with a line per profile: idim per layer with its 95 % interval, named by its label.

    It has the form of figure 3 of GeLoRA (arXiv 2412.09250), which shows two tasks before and after tuning on a third.
    """
    tasks: dict[str, list[tuple[str, IdProfile]]] = {}
    for label, profile in profiles.items():
        tasks.setdefault(profile.task, []).append((label, profile))
    figure, axes = new_figure(1.2 + 3.6 * len(tasks), (1,) * len(tasks))
    for axis, (task, profiles_of_task) in zip(axes, tasks.items(), strict=True):
        _draw_panel(axis, profiles_of_task, styles)
        sizes = dict.fromkeys(f"{profile.examples_used:,}" for _, profile in profiles_of_task)
        estimators = dict.fromkeys(estimator_name(profile) for _, profile in profiles_of_task)
        title = f"Intrinsic dimension on {task} ({' and '.join(estimators)})"
        head(axis, title, f"N = {' and '.join(sizes)} examples, bars: 95 % interval")
    axes[-1].set_xlabel(layer_axis_label(profile.model_map for profile in profiles.values()))
    return figure


def controls_figure(profile: IdProfile, controls: Mapping[str, IdProfile]) -> Figure:
    """Draw a profile and its controls, by `profile.control`, in one panel.

    What the profile has in common with that of an untrained model comes from the architecture, and what it has in
    common with that of shuffled texts from the words alone.
    """
    labelled = {"pretrained model, texts as they are": profile}
    labelled |= {CONTROL_LABELS[name]: controls[name] for name in CONTROL_LABELS if name in controls}
    before, after, *others = STYLES
    return profiles_figure(labelled, (after, before, *others))  # the solid line is the profile


def _draw_panel(axis: Axes, profiles: Sequence[tuple[str, IdProfile]], styles: Sequence[LineStyle]) -> None:
    """Draw the profiles of one task, shifted around the layer so that their intervals stand beside each other."""
    middle = (len(profiles) - 1) / 2
    for number, (label, profile) in enumerate(profiles):
        style, rows = styles[number % len(styles)], profile.layers
        x = [row.layer + SPREAD * (number - middle) for row in rows]
        axis.plot(x, [row.idim for row in rows], markersize=5, label=end_of(label), **style)
        axis.vlines(x, [row.low for row in rows], [row.high for row in rows], color=style["color"], linewidth=1.2)
    highest = max(row.high for _, profile in profiles for row in profile.layers)
    axis.set(ylabel="intrinsic dimension", ylim=(0, 1.08 * max(highest, 1.0)))  # from 0: the ratio of heights counts
    number_ticks(axis, range(max(len(profile.layers) for _, profile in profiles)))
