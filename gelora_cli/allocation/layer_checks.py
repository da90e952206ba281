"""Layers of a profile whose idim says little of the task, and the blocks whose growth depends on them; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.profile import IdProfile, LayerIdim
from gelora_cli.models.kinds.base import is_decoder_map

MOSTLY_DUPLICATES = 0.5
"""A layer is mostly duplicates when more than this share of its points were collapsed."""
FEWER_POINTS = 0.75
"""With less than this share of its neighbour's points a layer is measured at another scale than that neighbour."""

MORE_ON_IDIM = "docs/explanation/idim.md#misleads"

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
    """Return the layers that are constant, of few states, mostly duplicates, or of far fewer points than the next."""
    checked = [_check_layer(layers, index) for index in range(len(layers))]
    return tuple(weak for weak in checked if weak is not None)


def _check_layer(layers: Sequence[LayerIdim], index: int) -> WeakLayer | None:
    """Return what is wrong with a layer, or None."""
    # The order matters: the first reason explains the later ones, as duplicates explain that few points are left.
    row = layers[index]
    if row.constant:
        return WeakLayer(row.layer, "constant", "is constant (the same state for every text), so its idim is 0")
    if row.few_states:
        reason = f"takes {row.used} different state{'s' * (row.used > 1)} for {row.points:,} points"
        return WeakLayer(row.layer, "few states", f"{reason}, so its idim is 0 by definition")
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
    fix = pooling_fix(profile.settings.pooling, profile.model_map)
    warnings = []
    for weak in weak_layers(profile.layers):
        # A layer is the output of one block and the input of the next, so that it enters both of their growths.
        blocks = _blocks_at(profile, weak.layer, weak.layer + 1)
        growth = f"the growth of block{'s' * (len(blocks) > 1)} {' and '.join(blocks)} says little of the task"
        warnings.append(f"layer {weak.layer} {weak.reason}; {growth}{fix}.")
    return tuple(warnings)


def _blocks_at(profile: IdProfile, *layers: int) -> list[str]:
    """Return the numbers of the blocks that produce these layers, each once; a layer beyond the last has none."""
    produced_by = profile.model_map.layers
    numbers = [produced_by[layer - 1].index for layer in layers if 1 <= layer <= len(produced_by)]
    return [str(number) for number in dict.fromkeys(numbers)]


def constant_layers_text(profile: IdProfile) -> str:
    """Return that layers with an idim of 0 by definition decide the next blocks' growth; empty without any."""
    # The last layer has no block after it: its own block can't grow then, whatever is measured.
    constant = [row.layer for row in profile.layers[:-1] if row.by_definition]
    if not constant:
        return ""
    numbers = _blocks_at(profile, *(layer + 1 for layer in constant))
    layers, blocks = " and ".join(map(str, constant)), f"block{'s' * (len(numbers) > 1)} {' and '.join(numbers)}"
    if len(constant) == 1:
        return f"layer {layers} is 0 by definition and decides {blocks}"
    return f"layers {layers} are 0 by definition and decide {blocks}"


def plan_warnings(profile: IdProfile) -> tuple[str, ...]:
    """Return what to know of a plan that follows a profile: a control, no convergence, and which layers say little."""
    return tuple(filter(None, (control_warning(profile), convergence_note(profile), *layer_warnings(profile))))


def convergence_note(profile: IdProfile) -> str:
    """Return one sentence on the layers that have not converged; empty if all have."""
    moving = len(moving_layers(profile.layers))
    if not moving:
        return ""
    return (
        f"idim has not converged in {moving} of {len(profile.layers)} layers: it moves with the number of texts, and "
        f"with more of them the ranks may be others ({MORE_ON_IDIM})."
    )


def moving_layers(layers: Sequence[LayerIdim]) -> tuple[LayerIdim, ...]:
    """Return the layers that have not converged: the mean at N/2 or N/4 lies outside the 95 % interval at N."""
    return tuple(row for row in layers if _moves(row))


def _moves(row: LayerIdim) -> bool:
    means = [mean for mean in (row.half, row.quarter) if mean is not None]
    return not row.by_definition and any(not row.low <= mean <= row.high for mean in means)


def control_warning(profile: IdProfile) -> str:
    """Return that a profile is a control of GeLoRA, and of what; empty of a real profile."""
    control = profile.settings.control
    if control is None:
        return ""
    what, lacks = CONTROLS[control]
    return f"{what} (profile.control={control}): a control of GeLoRA, whose ranks say nothing of {lacks}."


def pooling_fix(pooling: str, model_map: ModelMap | None = None) -> str:
    """Return the advice, in brackets, to pool over all tokens.

    Empty if `mean` already does, and for the last token of a decoder, which is what is recommended there.
    """
    if pooling == "mean" or (pooling == "last" and model_map is not None and is_decoder_map(model_map)):
        return ""
    return f" (pooling={pooling}; profile.pooling=mean looks at every token)"
