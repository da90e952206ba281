"""Layers of a profile whose idim says little of the task, and the blocks whose growth depends on them; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gelora_cli.core.artifacts.profile import IdProfile, LayerIdim

MOSTLY_DUPLICATES = 0.5
"""A layer is mostly duplicates when more than this share of its points were collapsed."""
FEWER_POINTS = 0.75
"""With less than this share of its neighbour's points a layer is measured at another scale than that neighbour."""

CONTROLS = {
    "untrained": ("every weight is untrained", "what the model has learned"),
    "shuffled": ("the tokens of every text are shuffled", "the order of its words"),
}
"""What a control measures, and what its numbers can't depend on, by `profile.control`."""


@dataclass(frozen=True)
class WeakLayer:
    """A layer whose idim says little of the task; `mark` is the reason in two words, `reason` as a predicate."""

    layer: int
    mark: str
    reason: str


def weak_layers(layers: Sequence[LayerIdim]) -> tuple[WeakLayer, ...]:
    """Return the layers that are constant, mostly duplicates, or have far fewer points than a neighbouring one."""
    checked = [_check_layer(layers, index) for index in range(len(layers))]
    return tuple(weak for weak in checked if weak is not None)


def _check_layer(layers: Sequence[LayerIdim], index: int) -> WeakLayer | None:
    """Return what is wrong with a layer, or None."""
    # The order matters: the first reason explains the later ones, as duplicates explain that few points are left.
    row = layers[index]
    if row.constant:
        return WeakLayer(row.layer, "constant", "is constant (the same state for every text), so its idim is 0")
    counts = f"{row.used:,} of {row.points:,} points are left"
    if row.copies > MOSTLY_DUPLICATES * row.points:
        return WeakLayer(row.layer, "mostly duplicates", f"is mostly duplicates: {counts}")
    # The layer itself is among them, so that there is always one. Constant layers count all their points as used.
    neighbours = [other for other in layers[max(0, index - 1) : index + 2] if not other.constant]
    most = max(neighbours, key=lambda other: other.used)
    if row.used < FEWER_POINTS * most.used:
        return WeakLayer(row.layer, "fewer points", f"has far fewer points than layer {most.layer}: {counts}")
    return None


def layer_warnings(profile: IdProfile) -> tuple[str, ...]:
    """Return a sentence for each weak layer: what is wrong with it, whose growth depends on it, and what may help."""
    last = profile.layers[-1].layer
    warnings = []
    for weak in weak_layers(profile.layers):
        # Layer i is the output of block i and the input of block i + 1, so that it enters both of their growths.
        blocks = [str(block) for block in (weak.layer, weak.layer + 1) if 1 <= block <= last]
        growth = f"the growth of block{'s' * (len(blocks) > 1)} {' and '.join(blocks)} says little of the task"
        warnings.append(f"layer {weak.layer} {weak.reason}; {growth}{pooling_fix(profile.settings.pooling)}.")
    return tuple(warnings)


def constant_layers_text(layers: Sequence[LayerIdim]) -> str:
    """Return that constant layers decide the growth of the blocks after them; empty without any."""
    # The last layer has no block after it: its own block can't grow then, whatever is measured.
    constant = [row.layer for row in layers[:-1] if row.constant]
    if not constant:
        return ""
    layers_text, blocks = " and ".join(map(str, constant)), " and ".join(str(layer + 1) for layer in constant)
    if len(constant) == 1:
        return f"layer {layers_text} is 0 by definition and decides block {blocks}"
    return f"layers {layers_text} are 0 by definition and decide blocks {blocks}"


def plan_warnings(profile: IdProfile) -> tuple[str, ...]:
    """Return what to know of every plan from a profile: that it is a control, and which layers say little."""
    return tuple(filter(None, (control_warning(profile), *layer_warnings(profile))))


def control_warning(profile: IdProfile) -> str:
    """Return that a profile is a control of GeLoRA, and of what; empty of a real profile."""
    control = profile.settings.control
    if control is None:
        return ""
    what, lacks = CONTROLS[control]
    return f"{what} (profile.control={control}): a control of GeLoRA, whose ranks say nothing of {lacks}."


def pooling_fix(pooling: str) -> str:
    """Return the advice, in brackets, to pool over all tokens; an empty string if `mean` already does."""
    return "" if pooling == "mean" else f" (pooling={pooling}; profile.pooling=mean looks at every token)"
