"""What is shared out: the parts of a model that get a rank each, what a unit of rank costs there, and the budget.

Nothing here knows a signal. An allocator turns a signal into `Weights`; `AllocationProblem.apportion` turns weights
into ranks. No torch, no numpy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from gelora_cli.allocation.apportionment import Ranks, apportion
from gelora_cli.core.artifacts.model_map import LinearShape, ModelMap
from gelora_cli.core.budget import adapted_linears
from gelora_cli.core.errors import GeloraError

Granularity = Literal["block", "module"]


@dataclass(frozen=True)
class Rule:
    """The settings that turn a signal into weights and ranks.

    Attributes:
        name: the growth rule, `growth+1` or `growth` (`ranks.rule`).
        rounding: `up`, `nearest` or `down`, of the rule's own ranks (`ranks.rounding`).
        on_deficit: what happens if the budget is below the lower bounds, `error` or `shrink` (`ranks.on_deficit`).
        granularity: whether every `block` gets a rank or every `module`; None: as the allocator declares
            (`ranks.granularity`).
        when_unstable: what happens if the plan is not stable, `warn`, `uniform` or `error` (`ranks.when_unstable`).
    """

    name: str = "growth+1"
    rounding: str = "up"
    on_deficit: str = "error"
    granularity: Granularity | None = None
    when_unstable: str = "warn"


@dataclass(frozen=True)
class Target:
    """What gets one rank: the adapted linears of a block, or with granularity `module` one of them alone.

    `block` counts from 1.
    """

    block: int
    linears: tuple[LinearShape, ...]

    @property
    def unit_params(self) -> int:
        """Parameters that one unit of rank costs here."""
        return sum(linear.unit_params for linear in self.linears)

    @property
    def max_rank(self) -> int:
        """The largest rank: the smallest side of its linears."""
        return min(linear.max_rank for linear in self.linears)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What a signal asks for in each target: units of rank are shared out in proportion to `values`, from `start` on.

    Attributes:
        values: at least 0, and exact so that equal ones tie.
        start: the ranks to begin with.
        own_ranks: the ranks of a rule that needs no budget, which `budget=auto` takes; None for any other rule.
    """

    values: tuple[Fraction, ...]
    start: Ranks
    own_ranks: Ranks | None = None

    @classmethod
    def proportional(cls, values: Iterable[float | Fraction]) -> Weights:
        """Return weights that begin at rank 1 everywhere; equal ones if all values are 0.

        Raises:
            GeloraError: a value is negative or not finite.
        """
        exact = tuple(exact_number(value, "weight") for value in values)
        if any(value < 0 for value in exact):
            raise GeloraError(f"weights of {_join(map(float, exact))} given; numbers from 0 up are accepted.")
        ones = (1,) * len(exact)
        return cls(values=exact if any(exact) else tuple(map(Fraction, ones)), start=ones)


@dataclass(frozen=True, kw_only=True)
class AllocationProblem:
    """The side of an allocation that no signal changes.

    Attributes:
        targets: what gets a rank, from the first block to the last.
        rule: the settings.
        bound: the most parameters that the ranks may cost; None for `budget=auto`, which takes `auto_params`.
        auto_params: the parameters that GeLoRA's own ranks cost; 0 without a profile.
        budget: the budget as the user wrote it.
    """

    targets: tuple[Target, ...]
    rule: Rule
    bound: int | None
    auto_params: int
    budget: str

    @property
    def largest_cost(self) -> int:
        """Parameters that the ranks may cost."""
        return self.auto_params if self.bound is None else self.bound

    @property
    def costs(self) -> tuple[int, ...]:
        """Parameters of a unit of rank in each target."""
        return tuple(target.unit_params for target in self.targets)

    @property
    def caps(self) -> Ranks:
        """The largest rank of each target."""
        return tuple(target.max_rank for target in self.targets)

    @property
    def ones(self) -> Ranks:
        """Rank 1 in every target."""
        return (1,) * len(self.targets)

    def apportion(self, weights: Weights) -> Ranks:
        """Return ranks in proportion to weights, within the budget; with `budget=auto` the weights' own ranks.

        Units of rank go one at a time to the target with the largest `w_i / (2 n_i + 1)` (Sainte-Lague), ties to the
        earlier one, from `weights.start` until the next unit no longer fits. Where the budget is below that start,
        `on_deficit=shrink` begins at rank 1 and gives units only to targets that are still below it.

        Raises:
            GeloraError: the budget is below the smallest plan, which the message names.
        """
        if self.bound is None and weights.own_ranks is not None:
            return weights.own_ranks
        shrinks = self.rule.on_deficit == "shrink"
        # A signal may ask for more than a target's largest rank, which no rank can exceed.
        start = self.within_caps(weights.start)
        if self.largest_cost >= self.cost(start):
            return apportion(weights.values, start, self.caps, self.costs, self.largest_cost)
        if shrinks and self.largest_cost >= self.cost(self.ones):
            # The start becomes the ceiling: units go only where a lower bound is not met yet.
            return apportion(weights.values, self.ones, start, self.costs, self.largest_cost)
        raise self._deficit(start, shrinks=shrinks)

    def uniform_ranks(self) -> Ranks:
        """Return the ranks of equal weights.

        Raises:
            GeloraError: the budget is below rank 1 everywhere.
        """
        return self.apportion(Weights.proportional(self.ones))

    def is_feasible(self, ranks: Ranks) -> bool:
        """Return whether each target has a rank that is not above its largest, and all of them keep the budget."""
        if len(ranks) != len(self.caps):
            return False
        within_caps = all(0 <= rank <= cap for rank, cap in zip(ranks, self.caps, strict=True))
        return within_caps and self.cost(ranks) <= self.largest_cost

    def cost(self, ranks: Ranks) -> int:
        """Return the parameters of an adapter with these ranks."""
        return sum(rank * cost for rank, cost in zip(ranks, self.costs, strict=True))

    def within_caps(self, ranks: Iterable[int]) -> Ranks:
        """Return the ranks, each at least 1 and at most the target's largest."""
        return tuple(min(max(1, rank), cap) for rank, cap in zip(ranks, self.caps, strict=True))

    def _deficit(self, start: Ranks, *, shrinks: bool) -> GeloraError:
        even, smallest, bound = self.cost(self.ones), self.cost(start), self.largest_cost
        if shrinks or start == self.ones:
            least = f"rank 1 in every block costs {even:,}"
        else:
            least = f"the lower bounds of the ranks ({_join(start)}) cost {smallest:,}"
        # Shrinking helps only if the budget holds rank 1 everywhere.
        remedy = "" if bound < even else ", or set ranks.on_deficit=shrink to go below the bounds"
        return GeloraError(
            f"budget={self.budget} gives the adapter {bound:,} parameters, but {least}; "
            f"the smallest possible is budget={even if shrinks else smallest}. Give that or more{remedy}."
        )


def make_targets(model_map: ModelMap, modules: str, granularity: Granularity = "block") -> tuple[Target, ...]:
    """Return what gets a rank of its own, from the first block to the last.

    Raises:
        GeloraError: `modules` is neither `attention` nor `all`, or a block has nothing to adapt.
    """
    blocks = [Target(index, linears) for index, linears in enumerate(adapted_linears(model_map, modules), start=1)]
    if granularity == "block":
        return tuple(blocks)
    return tuple(Target(target.block, (linear,)) for target in blocks for linear in target.linears)


def exact_number(value: float | Fraction, what: str) -> Fraction:
    """Return the decimal number that a float is written as: 4.4 - 3.4 is then 1, while binary floats give more.

    Raises:
        GeloraError: it is not finite.
    """
    if isinstance(value, Fraction):
        return value
    if not math.isfinite(value):
        raise GeloraError(f"{what} {value} given; only finite numbers can be planned with. Measure again.")
    return Fraction(repr(float(value)))  # repr gives the shortest decimal that reads back as this float


def _join(numbers: Iterable[object]) -> str:
    return " ".join(map(str, numbers))
