"""Sharing units of rank among blocks in proportion to weights, within a budget in parameters; no torch, no numpy."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from fractions import Fraction

Ranks = tuple[int, ...]


def apportion(
    weights: Sequence[Fraction | int], start: Ranks, ceilings: Ranks, units: Sequence[int], bound: int
) -> Ranks:
    """Give units one at a time to the largest `w_i / (2 n_i + 1)` until the next one no longer fits the bound.

    This is the method of Sainte-Lague. Started from 0 and without ceilings it shares out its units so that
    `sum_i (n_i - q_i)^2 / q_i` is smallest, with `q_i` the exact share of block i. Blocks at their ceiling and blocks
    of weight 0 get none. Ties go to the earlier block.

    Args:
        weights: `w_i` of each block, exact.
        start: `n_i`, the ranks to begin with.
        ceilings: the largest rank of each block.
        units: parameters that a unit of rank costs in each block.
        bound: parameters that all ranks together may cost.
    """
    ranks = list(start)
    remaining = bound - sum(rank * unit for rank, unit in zip(start, units, strict=True))

    def entry(block: int) -> tuple[Fraction, int]:
        # The heap gives its smallest entry first, so the quotient is negated; of equal ones the earlier block comes
        # first. Fractions, because a quotient that rounds would break ties by chance.
        return -Fraction(weights[block]) / (2 * ranks[block] + 1), block

    waiting = [entry(i) for i, weight in enumerate(weights) if weight and ranks[i] < ceilings[i]]
    heapq.heapify(waiting)
    # It ends when the next unit does not fit, even if a cheaper one further down would: a larger budget then never
    # takes a rank away.
    while waiting and units[waiting[0][1]] <= remaining:
        _, block = heapq.heappop(waiting)
        ranks[block] += 1
        remaining -= units[block]
        if ranks[block] < ceilings[block]:
            heapq.heappush(waiting, entry(block))
    return tuple(ranks)
