"""A measurement taken ten times, each without a tenth of its sample: how far it would scatter; no torch, no numpy.

Measurements that share nine tenths of their sample lie closer together than measurements of different samples. With
g of them the jackknife's variance is `(g - 1) / g * sum_k (x_k - mean)^2` (Efron and Stein, Annals of Statistics 9,
586, 1981; delete-a-group form), g - 1 times their own. `inflate` moves each as far from the whole sample's value as
that variance asks for, so that plans can be made from them as if each came from a sample of its own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from gelora_cli.allocation.problem import Weights, exact_number


def inflate(value: float, replicates: Sequence[float], excess: float = 1.0) -> list[float]:
    """Return `x + sqrt(g - 1) / c (x_k - mean)` for the g replicates `x_k` of a value x.

    With c = 1 the mean square distance of the results from x is the jackknife's variance of x.

    Args:
        value: x, of the whole sample.
        replicates: `x_k`.
        excess: c, how many times the jackknife's standard error is too large for this kind of estimate.
    """
    mean, factor = statistics.fmean(replicates), math.sqrt(len(replicates) - 1) / excess
    return [value + factor * (replicate - mean) for replicate in replicates]


def inflate_weights(weights: Weights, replicates: Sequence[Weights]) -> tuple[Weights, ...]:
    """Return the weights of replicates, inflated target by target, and not below 0.

    Own ranks, where an allocator has them, are inflated as well and rounded.
    """
    if not replicates:
        return ()
    columns = []
    for i, value in enumerate(weights.values):
        measured = inflate(float(value), [float(replicate.values[i]) for replicate in replicates])
        columns.append([exact_number(max(number, 0.0), "weight") for number in measured])
    own_ranks = _inflate_ranks(weights, replicates)
    inflated = []
    for k, replicate in enumerate(replicates):
        values = tuple(column[k] for column in columns)
        inflated.append(Weights(values=values, start=replicate.start, own_ranks=own_ranks[k]))
    return tuple(inflated)


def _inflate_ranks(weights: Weights, replicates: Sequence[Weights]) -> list[tuple[int, ...] | None]:
    """Return the own ranks of each replicate, inflated and rounded; None where the weights have none."""
    if weights.own_ranks is None:
        return [None] * len(replicates)
    columns = []
    for i, rank in enumerate(weights.own_ranks):
        measured = [replicate.own_ranks[i] for replicate in replicates if replicate.own_ranks is not None]
        columns.append([max(math.floor(number + 0.5), 0) for number in inflate(rank, measured)])
    return list(zip(*columns, strict=True))


def spread(inflated: Sequence[float]) -> float:
    """Return the jackknife's standard error: the standard deviation of inflated replicates, divided by g, not g - 1."""
    return statistics.pstdev(inflated)


def tail_probability(t: float, degrees: int = 9) -> float:
    """Return the probability that Student's t with an odd number of degrees of freedom, 3 at least, is above t >= 0.

    With `theta = atan(t / sqrt(n))` the probability of `|T| < t` is
    `2 / pi (theta + sin(theta) (cos(theta) + 2/3 cos^3(theta) + .. + (2 4 .. (n - 3)) / (3 5 .. (n - 2)) cos^(n-2)))`
    (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3).
    """
    theta = math.atan(t / math.sqrt(degrees))
    term = total = math.cos(theta)
    for power in range(3, degrees - 1, 2):
        term *= math.cos(theta) ** 2 * (power - 1) / power
        total += term
    inside = 2 / math.pi * (theta + math.sin(theta) * total)
    return max(0.0, (1 - inside) / 2)


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Kendall's tau-b of two orders, from -1 to 1; None if all values of either tie.

    `(concordant - discordant) / sqrt((pairs - ties in the first) (pairs - ties in the second))`
    (Kendall, Biometrika 33, 239, 1945).
    """
    balance = untied_first = untied_second = 0
    for i, (x, y) in enumerate(zip(first, second, strict=True)):
        for other_x, other_y in zip(first[:i], second[:i], strict=True):
            sign_x, sign_y = _sign(x - other_x), _sign(y - other_y)
            balance += sign_x * sign_y
            untied_first += abs(sign_x)
            untied_second += abs(sign_y)
    if not untied_first or not untied_second:
        return None
    return balance / math.sqrt(untied_first * untied_second)


def _sign(difference: float) -> int:
    return (difference > 0) - (difference < 0)
