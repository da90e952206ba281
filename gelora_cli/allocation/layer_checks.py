"""Layers of a profile whose idim says little of the task, and the blocks whose growth depends on them; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gelora_cli.core.artifacts.profile import IdProfile, LayerIdim

MOSTLY_DUPLICATES = 0.5
"""A layer is mostly duplicates when more than this share of its points were collapsed."""
FEWER_POINTS = 0.75
"""With less than this share of its neighbour's points a layer is measured at another scale than that neighbour."""


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


def profile_table(profile: IdProfile) -> str:
    """Return a profile as a table for a terminal, a line per layer, and the warnings below it.

    The points of a layer are the states that are left once duplicates are collapsed.
    """
    marks = {weak.layer: weak.mark for weak in weak_layers(profile.layers)}
    lines = ["layer    idim   95 % interval      N/2      N/4   points"]
    for row in profile.layers:
        half = "      -" if row.half is None else f"{row.half:7.3f}"
        quarter = "      -" if row.quarter is None else f"{row.quarter:7.3f}"
        line = f"{row.layer:5d} {row.idim:7.3f}   {row.low:6.3f} {row.high:6.3f}  {half}  {quarter}  {row.used:7,}"
        lines.append(f"{line}  {marks[row.layer]}" if row.layer in marks else line)
    return "\n".join([*lines, *(f"warning: {text}" for text in layer_warnings(profile))])


def pooling_fix(pooling: str) -> str:
    """Return the advice, in brackets, to pool over all tokens; an empty string if `mean` already does."""
    return "" if pooling == "mean" else f" (pooling={pooling}; profile.pooling=mean looks at every token)"
