"""Idim against the size of the neighbourhood: one size for all layers, and where it is flat; no torch, no numpy.

Both rules are [ours].
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

from gelora_cli.core.artifacts.profile import ScaleIdim

FLAT = math.log(1.1)
"""Idims that differ by less than a tenth count as equal."""
FEWEST_FLAT = 3
"""A plateau has at least so many scales."""


def choose_scale(layers: Sequence[Sequence[ScaleIdim]]) -> int:
    """Return one n1 for all layers, since growth compares layers: the first after which idim hardly changes [ours].

    `c(n1)` is the mean over the layers of `log idim` at n1. The smallest n1 is chosen with
    `|c(2 n1) - c(n1)| < log 1.1`, else the largest n1. Only n1 that every layer has are looked at.

    Args:
        layers: the scales of every layer; a layer without any, as a constant one or one of few states, has no say.

    Returns:
        n1; 1 if no layer has a say.
    """
    curves = [scales for scales in layers if scales]
    if not curves:
        return 1
    logs: dict[int, list[float]] = {}  # by n1
    for scale in itertools.chain(*curves):
        logs.setdefault(scale.n1, []).append(math.log(scale.idim))
    means = {n1: statistics.fmean(values) for n1, values in sorted(logs.items()) if len(values) == len(curves)}
    shared = list(means)
    for n1 in shared:
        if 2 * n1 in means and abs(means[2 * n1] - means[n1]) < FLAT:
            return n1
    return shared[-1] if shared else 1


def plateau(scales: Sequence[ScaleIdim]) -> tuple[int, int] | None:
    """Return the first and the last n1 of the longest run of scales in which idim is flat; None if there is none.

    A run is flat if one value lies in the bands of all its scales [ours]. A band is the 95 % interval, and at least
    `idim / sqrt(1.1) .. idim * sqrt(1.1)`. A run has at least three scales, so a factor of four in n1; of equally long
    ones the first is returned.
    """
    best: Sequence[ScaleIdim] = ()
    for start in range(len(scales)):
        stop = start + 1
        while stop < len(scales) and _share_a_value(scales[start : stop + 1]):
            stop += 1
        if stop - start > len(best):
            best = scales[start:stop]
    return (best[0].n1, best[-1].n1) if len(best) >= FEWEST_FLAT else None


def _share_a_value(run: Sequence[ScaleIdim]) -> bool:
    half = math.exp(FLAT / 2)
    lowest = max(min(scale.low, scale.idim / half) for scale in run)
    highest = min(max(scale.high, scale.idim * half) for scale in run)
    return lowest <= highest
