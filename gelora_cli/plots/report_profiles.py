"""`idim-N`: the intrinsic dimension per layer, of the profiles that the runs of a report have; no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from gelora_cli.allocation.layer_checks import weak_layers
from gelora_cli.core.artifacts.profile import IdProfile, ProfileSettings
from gelora_cli.core.registries import REPORT_PICTURES
from gelora_cli.plots.base import Picture, ReportPicture
from gelora_cli.plots.profiles import estimator_name
from gelora_cli.plots.report_rows import MOST_LINES, chunks
from gelora_cli.plots.shared_blocks import layer_axis_label
from gelora_cli.plots.style import INK, head, line_style, new_figure, number_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gelora_cli.report.rows import Row
    from gelora_cli.report.runs import Run

NAMED = ("model", "from", *(field.name for field in fields(ProfileSettings)), "text")
"""What a label may say beside the task, in its order."""

UNSET = "None"
"""What a setting that a profile has no use for is written as; a label leaves it out."""

SHIFT = 0.09  # of a layer: the bars of two profiles stand beside each other


@dataclass(frozen=True)
class LabelledProfile:
    """A profile, and what it may be named by: key to text."""

    profile: IdProfile
    facts: dict[str, str]


@REPORT_PICTURES.register
class ProfilesPicture(ReportPicture):
    """All profiles over each other, at most 6 in one picture."""

    name = "idim"

    def draw(self, rows: Sequence[Row]) -> Iterator[Picture]:
        """Draw the idim of each layer with its 95 % interval, a line per profile."""
        profiles = label_profiles([run for row in rows for run in row.runs])
        for number, part in enumerate(chunks(list(profiles.items()), MOST_LINES), start=1):
            yield _draw_profiles(f"idim-{number}", dict(part))


def label_profiles(runs: Sequence[Run]) -> dict[str, IdProfile]:
    """Return the different profiles by a label: the task, and in what else they differ."""
    different: dict[tuple[str, ...], LabelledProfile] = {}
    for run in runs:
        profile = run.profile()
        if profile is not None:
            facts = {
                "task": profile.task,
                "model": run.result.model,
                "from": dict(run.settings).get("init_from", "the base model"),
            }
            facts |= {key: str(value) for key, value in asdict(profile.settings).items()}  # UNSET where it is None
            facts["text"] = profile.data_fingerprint[:6]
            # Runs that share a profile have equal facts, and are one line.
            different.setdefault((*facts.values(), profile.model_fingerprint), LabelledProfile(profile, facts))
    facts_of_all = [labelled.facts for labelled in different.values()]
    keys = [key for key in NAMED if _differs(key, facts_of_all)]
    labels = {}
    for labelled in different.values():
        facts = labelled.facts
        parts = [facts["task"]]
        parts += [facts[key] if key == "model" else f"{key} {facts[key]}" for key in keys if facts[key] != UNSET]
        label = ", ".join(parts)
        if label in labels:  # the same settings on weights that differ
            label = f"{label}, {labelled.profile.model_fingerprint[:6]}"
        labels[label] = labelled.profile
    return labels


def _differs(key: str, facts: Sequence[dict[str, str]]) -> bool:
    """Return whether profiles of one task and model differ in this key; in the model, any profiles."""
    if key == "model":
        return len({fact[key] for fact in facts}) > 1
    values = defaultdict(set)
    for fact in facts:
        values[fact["task"], fact["model"]].add(fact[key])
    return any(len(texts) > 1 for texts in values.values())


def _draw_profiles(name: str, profiles: dict[str, IdProfile]) -> Picture:
    figure, (axis,) = new_figure(height_inches=4.6, panels=(1,))
    for index, (label, profile) in enumerate(profiles.items()):
        shift = (index - (len(profiles) - 1) / 2) * SHIFT
        _draw_profile(axis, profile, label, index, shift)
    maps = [profile.model_map for profile in profiles.values()]
    axis.set(xlabel=layer_axis_label(maps), ylabel="intrinsic dimension")
    axis.set_ylim(bottom=0)
    number_ticks(axis, range(max(len(profile.layers) for profile in profiles.values())))
    origin = "bars: 95 % interval of each layer"
    if any(weak_layers(profile.layers) for profile in profiles.values()):
        origin += "; crosses: constant, few states, mostly duplicates, or far fewer points"
    estimators = dict.fromkeys(map(estimator_name, profiles.values()))
    head(axis, f"Intrinsic dimension of the hidden states ({' and '.join(estimators)})", origin)
    return Picture(name, "Intrinsic dimension per layer", f"Idim per layer of {', '.join(profiles)}.", figure)


def _draw_profile(axis: Axes, profile: IdProfile, label: str, index: int, shift: float) -> None:
    layers = [row.layer + shift for row in profile.layers]
    idims = [row.idim for row in profile.layers]
    # Rounding may put the end of a very narrow interval on the wrong side of the estimate.
    below = [max(0.0, row.idim - row.low) for row in profile.layers]
    above = [max(0.0, row.high - row.idim) for row in profile.layers]
    style = line_style(index)
    axis.errorbar(layers, idims, yerr=[below, above], label=label, markersize=5, capsize=2.5, linewidth=1.4, **style)
    weak = {layer.layer for layer in weak_layers(profile.layers)}
    marked = [(x, y) for x, y, row in zip(layers, idims, profile.layers, strict=True) if row.layer in weak]
    if marked:
        axis.plot(*zip(*marked, strict=True), "x", color=INK, markersize=9, linestyle="none", clip_on=False, zorder=4)
