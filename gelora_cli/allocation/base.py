"""What an allocator is: from a measured signal and a budget to one rank per block; no torch, no numpy."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from gelora_cli.allocation.apportionment import Ranks, apportion
from gelora_cli.core.errors import GeloraError

ROUNDING: dict[str, Callable[[Fraction], int]] = {
    "up": math.ceil,
    "nearest": lambda rank: math.floor(rank + Fraction(1, 2)),
    "down": math.floor,
}


class Allocator(ABC):
    """Which rank where. One object per allocator, registered in `core.registries.ALLOCATORS`.

    What the ranks are used for (LoRA, or a variant of it) is a method's business: a method names its allocator.
    """

    name: str
    follows_growth: ClassVar[bool] = False
    """Whether the ranks are GeLoRA's own, so that the intervals of the idim carry over to them."""
    needs_growth_ranks: ClassVar[bool] = True
    """Whether a budget that GeLoRA's own ranks can't meet is refused, since the ranks start from those."""

    @abstractmethod
    def allocate(self, problem: AllocationProblem, seed: int) -> Ranks:
        """Return one rank per block, which `problem.is_feasible` accepts; `seed` is for what is drawn.

        Raises:
            GeloraError: there are no such ranks; the message says what to change.
        """


@dataclass(frozen=True)
class Rule:
    """The settings that turn growth into weights, lower bounds and ranks."""

    name: str
    rounding: str
    on_deficit: str


@dataclass(frozen=True)
class AllocationProblem:
    """What is to be allocated: per block the growth, the parameters of a unit and the largest rank; rule and bound.

    `growths` are `g_i = max(d_i - d_{i-1}, 0)` of the measured idim, exact. `bound` is in parameters; with
    `budget=auto` there is none. `budget` is how the user wrote it.
    """

    growths: tuple[Fraction, ...]
    units: tuple[int, ...]
    caps: Ranks
    rule: Rule
    bound: int | None
    budget: str

    @property
    def ones(self) -> Ranks:
        """Rank 1 in every block."""
        return (1,) * len(self.growths)

    @property
    def weights(self) -> Sequence[Fraction | int]:
        """What units of rank are handed out in proportion to."""
        if self.rule.name == "growth+1":
            return [growth + 1 for growth in self.growths]
        return self.growths if any(self.growths) else self.ones

    @property
    def real_ranks(self) -> tuple[Fraction, ...]:
        """`r_i` before rounding; the rule `growth` keeps every block at 1 at least."""
        if self.rule.name == "growth+1":
            return tuple(growth + 1 for growth in self.growths)
        return tuple(max(growth, Fraction(1)) for growth in self.growths)

    @property
    def own_ranks(self) -> Ranks:
        """The rule's own ranks, which `budget=auto` takes."""
        return self._within(map(ROUNDING[self.rule.rounding], self.real_ranks))

    @property
    def lower_bounds(self) -> Ranks:
        """`l_i = max(1, ceil(g_i))`."""
        return self._within(map(math.ceil, self.growths))

    @property
    def start(self) -> Ranks:
        """The ranks that are there before the first unit is handed out."""
        return self.lower_bounds if self.rule.name == "growth+1" else self.ones

    @property
    def growth_ranks(self) -> Ranks:
        """GeLoRA's ranks for the bound; without one the rule's own.

        Raises:
            GeloraError: the bound is below the smallest plan.
        """
        if self.bound is None:
            return self.own_ranks
        shrinks = self.rule.on_deficit == "shrink"
        even, smallest = self.cost(self.ones), self.cost(self.start)
        if self.bound >= smallest:
            return apportion(self.weights, self.start, self.caps, self.units, self.bound)
        if shrinks and self.bound >= even:
            return apportion(self.weights, self.ones, self.lower_bounds, self.units, self.bound)
        raise self._too_small(shrinks=shrinks)

    @property
    def uniform_ranks(self) -> Ranks:
        """Ranks by equal weights from rank 1, under the bound or what auto costs.

        Raises:
            GeloraError: the bound is below rank 1 everywhere.
        """
        if self.largest_cost < self.cost(self.ones):
            raise self._too_small(shrinks=True)
        return apportion(self.ones, self.ones, self.caps, self.units, self.largest_cost)

    @property
    def largest_cost(self) -> int:
        """Parameters that any allocation may cost: the bound; with `budget=auto` what the rule's own ranks cost."""
        return self.cost(self.own_ranks) if self.bound is None else self.bound

    def is_feasible(self, ranks: Ranks) -> bool:
        """Whether there is a rank for each block, none passes its block's largest, and the cost not the bound."""
        if len(ranks) != len(self.caps):
            return False
        within_caps = all(0 <= rank <= cap for rank, cap in zip(ranks, self.caps, strict=True))
        return within_caps and self.cost(ranks) <= self.largest_cost

    def cost(self, ranks: Ranks) -> int:
        """Parameters of an adapter with these ranks."""
        return sum(rank * unit for rank, unit in zip(ranks, self.units, strict=True))

    def _within(self, ranks: Iterable[int]) -> Ranks:
        return tuple(min(max(1, rank), cap) for rank, cap in zip(ranks, self.caps, strict=True))

    def _too_small(self, *, shrinks: bool) -> GeloraError:
        even, smallest, bound = self.cost(self.ones), self.cost(self.start), self.bound or 0
        if shrinks or self.start == self.ones:
            least = f"rank 1 in every block costs {even:,}"
        else:
            least = f"the lower bounds of the ranks ({' '.join(map(str, self.start))}) cost {smallest:,}"
        other = "" if bound < even else ", or set ranks.on_deficit=shrink to go below the bounds"
        return GeloraError(
            f"budget={self.budget} gives the adapter {bound:,} parameters, but {least}; "
            f"the smallest possible is budget={even if shrinks else smallest}. Give that or more{other}."
        )
