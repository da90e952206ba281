"""Which layers of a profile say little of the task, and which blocks' growth they steer; no torch, no numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gelora_cli.core.artifacts.profile import IdProfile, LayerIdim

MOSTLY_DUPLICATES = 0.5
"""A layer of which more than this share of its points was collapsed is mostly duplicates."""
FEWER_POINTS = 0.75
"""A layer with less than this share of the points of a layer beside it is read at another scale than that one."""


@dataclass(frozen=True)
class WeakLayer:
    """A layer whose idim says little of the task; `mark` names the reason in two words, `reason` in a sentence."""

    layer: int
    mark: str
    reason: str


def weak_layers(layers: Sequence[LayerIdim]) -> tuple[WeakLayer, ...]:
    """Return the layers that are constant, mostly duplicates, or have far fewer points than a layer beside them."""
    checked = (_weakness(layers, place) for place in range(len(layers)))
    return tuple(found for found in checked if found)


def _weakness(layers: Sequence[LayerIdim], place: int) -> WeakLayer | None:
    row = layers[place]
    if row.constant:
        return WeakLayer(row.layer, "constant", "is constant (the same state for every text), so its idim is 0")
    counts = f"{row.used:,} of {row.points:,} points are left"
    if row.copies > MOSTLY_DUPLICATES * row.points:
        return WeakLayer(row.layer, "mostly duplicates", f"is mostly duplicates: {counts}")
    beside = [other for other in layers[max(0, place - 1) : place + 2] if not other.constant]
    most = max(beside, key=lambda other: other.used)
    if row.used < FEWER_POINTS * most.used:
        return WeakLayer(row.layer, "fewer points", f"has far fewer points than layer {most.layer}: {counts}")
    return None


def layer_warnings(profile: IdProfile) -> tuple[str, ...]:
    """Return a sentence for each weak layer: what is wrong with it, whose growth it steers, and what may help."""
    return tuple(_warning(profile, found) for found in weak_layers(profile.layers))


def profile_table(profile: IdProfile) -> str:
    """Return a profile as a table for a terminal, a line per layer, and the warnings below it.

    The points of a layer are the states that are left of those given once duplicates are collapsed.
    """
    marks = {found.layer: found.mark for found in weak_layers(profile.layers)}
    lines = ["layer    idim   95 % interval      N/2      N/4   points"]
    for row in profile.layers:
        halves = "  ".join("      -" if value is None else f"{value:7.3f}" for value in (row.half, row.quarter))
        line = f"{row.layer:5d} {row.idim:7.3f}   {row.low:6.3f} {row.high:6.3f}  {halves}  {row.used:7,}"
        lines.append(f"{line}  {marks[row.layer]}" if row.layer in marks else line)
    return "\n".join([*lines, *(f"warning: {text}" for text in layer_warnings(profile))])


def _warning(profile: IdProfile, found: WeakLayer) -> str:
    last = profile.layers[-1].layer
    blocks = [block for block in (found.layer, found.layer + 1) if 1 <= block <= last]
    named = " and ".join(map(str, blocks))
    growth = f"the growth of block{'s' * (len(blocks) > 1)} {named} says little of the task"
    return f"layer {found.layer} {found.reason}; {growth}{pooling_fix(profile.settings.pooling)}."


def pooling_fix(pooling: str) -> str:
    """Return, in brackets, that another pooling looks at more of a text; nothing of `mean`, which looks at all."""
    return "" if pooling == "mean" else f" (pooling={pooling}; profile.pooling=mean looks at every token)"
