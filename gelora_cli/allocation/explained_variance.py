"""EVA's ranks (Paischer et al., arXiv 2410.07170): components of the inputs by explained variance; no torch."""

from __future__ import annotations

from collections.abc import Sequence

from gelora_cli.allocation.apportionment import Ranks, apportion


def cut_components(shares: Sequence[Sequence[float]], costs: Sequence[int], bound: int) -> Ranks:
    """Return ranks: components in the order of their share of the variance, until the next passes the bound.

    Args:
        shares: of each target's components, descending. A target gets no more rank than it has components, and perhaps
            none.
        costs: parameters of a unit of rank in each target.
        bound: parameters of all ranks together.

    Ties go to the earlier target.
    """
    components = []
    for target, row in enumerate(shares):
        components += [(-share, target) for share in row]
    ranks = [0] * len(shares)
    left = bound  # parameters
    for _, target in sorted(components):
        if costs[target] > left:
            break
        ranks[target] += 1
        left -= costs[target]
    return tuple(ranks)


def even_ranks(costs: Sequence[int], caps: Ranks, bound: int) -> Ranks:
    """Return even ranks of so many units as the bound holds at the lowest cost.

    `rho` times the largest of them is the most components that EVA gives a linear.
    """
    count = len(costs)
    return apportion((1,) * count, (0,) * count, caps, (min(costs),) * count, bound)


def most_components(rho: float, largest_even_rank: int, inputs: int) -> int:
    """Return the most components that a linear may get, `rho` times the even rank, and at most its inputs."""
    return round(largest_even_rank * max(1.0, min(rho, inputs / largest_even_rank)))
