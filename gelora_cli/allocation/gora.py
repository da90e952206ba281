"""Ranks by GoRA's importance, the mean of `|W * G|` (NeurIPS 2025, arXiv 2502.12171); no torch.

`budget_rule=ours` shares out units of rank as every method here does. The published rule has a reference rank R: with
importances `a_i` that sum to 1, `budget = sum f_i R` and `r_i = floor(round(budget * a_i) / f_i)`, within `rank_min`
and `rank_max`. With `paper` f_i is `sqrt(in + out)`. With `code` it is `in + out`, the default of the published code,
which its scripts use. That rule may cost more or less than rank R everywhere. Here it takes the largest R whose ranks
keep the budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, cast

from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.base import Allocation
from gelora_cli.allocation.gradients import GradientAllocator
from gelora_cli.allocation.notes import weights_note
from gelora_cli.allocation.problem import AllocationProblem, Weights
from gelora_cli.core.artifacts.signals import GradientNumbers, GradientSignal
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import ALLOCATORS

BUDGET_RULES = ("ours", "paper", "code")

LARGEST_REFERENCE = 2**64
"""Targets that still have not reached their largest rank there have next to no importance."""


class GoraKeys(Protocol):
    """The keys of a method that chooses ranks by GoRA."""

    budget_rule: str
    rank_min: int
    rank_max: int


@dataclass(frozen=True)
class PublishedRule:
    """GoRA's rule for a problem.

    Attributes:
        shares: the importance of each target, of sum 1.
        features: `f_i` of each target.
        floors: the smallest rank of each target.
        ceilings: the largest one.
    """

    shares: Sequence[Fraction]
    features: Sequence[float]
    floors: Ranks
    ceilings: Ranks

    def ranks(self, reference: int) -> Ranks:
        """Return the ranks of a reference rank."""
        budget = reference * sum(self.features)
        ranks = []
        rows = zip(self.shares, self.features, self.floors, self.ceilings, strict=True)
        for share, features, floor, ceiling in rows:
            rank = int(round(budget * float(share)) // features)
            ranks.append(min(max(rank, floor), ceiling))
        return tuple(ranks)

    def largest_reference(self, problem: AllocationProblem) -> int:
        """Return the largest reference rank whose ranks keep the budget; 0 if none above it does.

        Ranks grow with the reference, so their cost does.
        """
        low, high = 0, 1
        while problem.cost(self.ranks(high)) <= problem.largest_cost:
            if high > LARGEST_REFERENCE or self.ranks(high) == self.ceilings:
                return high
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if problem.cost(self.ranks(middle)) <= problem.largest_cost else (low, middle)
        return low


@ALLOCATORS.register
class Gora(GradientAllocator):
    """Weights are the mean over parameters of the absolute weight times its gradient."""

    name = "gora"

    def number(self, numbers: GradientNumbers) -> float:
        """Return the importance of a linear."""
        return numbers.importance

    def allocate(self, problem: AllocationProblem, weights: Weights, seed: int) -> Ranks:
        """Return ranks by the rule that `method.budget_rule` names.

        Raises:
            GeloraError: the budget is below the smallest plan.
        """
        keys = cast("GoraKeys", problem.settings)
        if keys.budget_rule == "ours":
            return problem.apportion(weights)
        rule = _published_rule(problem, weights, keys)
        if (smallest := problem.cost(rule.floors)) > problem.largest_cost:
            raise GeloraError(
                f"budget={problem.budget} gives the adapter {problem.largest_cost:,} parameters, but method.rank_min="
                f"{keys.rank_min} everywhere costs {smallest:,}. Give budget={smallest} or more, or a smaller "
                "method.rank_min."
            )
        return rule.ranks(rule.largest_reference(problem))

    def note(self, signal: GradientSignal, allocation: Allocation) -> str:
        """Return the weights, and the reference rank of the published rule."""
        problem, note = allocation.problem, weights_note(allocation)
        keys = cast("GoraKeys", problem.settings)
        if keys.budget_rule == "ours":
            return note
        reference = _published_rule(problem, allocation.weights, keys).largest_reference(problem)
        return (
            f"{note} GoRA's rule ({keys.budget_rule}) with reference rank {reference}, the largest within the budget."
        )


def _published_rule(problem: AllocationProblem, weights: Weights, keys: GoraKeys) -> PublishedRule:
    values = weights.values if any(weights.values) else Weights.proportional(weights.values).values
    total = sum(values)
    features = [float(cost) if keys.budget_rule == "code" else math.sqrt(cost) for cost in problem.costs]
    return PublishedRule(
        shares=[value / total for value in values],
        features=features,
        floors=tuple(min(keys.rank_min, cap) for cap in problem.caps),
        ceilings=tuple(min(keys.rank_max, cap) for cap in problem.caps),
    )
