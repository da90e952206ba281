"""What is shared out: the parts of a model that get a rank each, what a unit of rank costs there, and the budget.

Nothing here knows a signal. An allocator turns a signal into `Weights`; `AllocationProblem.apportion` turns weights
into ranks. No torch, no numpy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Literal, TypeVar

from gelora_cli.allocation.apportionment import Ranks, apportion
from gelora_cli.core.artifacts.model_map import LinearShape, ModelMap
from gelora_cli.core.budget import adapted_linears
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import VARIANTS

Granularity = Literal["block", "module"]
ValueT = TypeVar("ValueT")


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
        variant: the form of LoRA's update, which says what a linear costs beside its rank (`method.variant`).
    """

    name: str = "growth+1"
    rounding: str = "up"
    on_deficit: str = "error"
    granularity: Granularity | None = None
    when_unstable: str = "warn"
    variant: str = "lora"


@dataclass(frozen=True)
class Target:
    """What gets one rank: the adapted linears of a block, or with granularity `module` one of them alone.

    `block` counts from 1.
    """

    block: int
    linears: tuple[LinearShape, ...]

    @property
    def unit_params(self) -> int:
        """Return the parameters that one unit of rank costs here."""
        return sum(linear.unit_params for linear in self.linears)

    @property
    def max_rank(self) -> int:
        """Return the largest rank: the smallest side of its linears."""
        return min(linear.max_rank for linear in self.linears)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What a signal asks for in each target: units of rank are shared out in proportion to `values`, from `start` on.

    Attributes:
        values: at least 0, and exact so that equal ones tie.
        start: the ranks to begin with; a target that begins at 0 with weight 0 is left out.
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
        settings: the keys of the method, of which some may choose ranks; an allocator knows their class.

    What follows from these alone is computed once: a control asks `is_feasible` of thousands of ranks.
    """

    targets: tuple[Target, ...]
    rule: Rule
    bound: int | None
    auto_params: int
    budget: str
    settings: object = None

    @property
    def largest_cost(self) -> int:
        """Return the parameters that the ranks may cost."""
        return self.auto_params if self.bound is None else self.bound

    @cached_property
    def costs(self) -> tuple[int, ...]:
        """Return the parameters of a unit of rank in each target."""
        return tuple(target.unit_params for target in self.targets)

    @cached_property
    def fixed_costs(self) -> tuple[int, ...]:
        """Return the parameters of each target beside its units, as soon as it has one (`Variant.fixed_params`)."""
        variant = VARIANTS.get(self.rule.variant)
        return tuple(sum(map(variant.fixed_params, target.linears)) for target in self.targets)

    @property
    def largest_unit_cost(self) -> int:
        """Return the parameters that are left for units of rank if every target is adapted."""
        return self.largest_cost - sum(self.fixed_costs)

    @cached_property
    def caps(self) -> Ranks:
        """Return the largest rank of each target."""
        return tuple(target.max_rank for target in self.targets)

    @property
    def ones(self) -> Ranks:
        """Return rank 1 in every target."""
        return (1,) * len(self.targets)

    @property
    def blocks(self) -> int:
        """Return the number of blocks."""
        return self.targets[-1].block

    @property
    def has_modules(self) -> bool:
        """Return whether some block has several targets, so that modules have ranks of their own."""
        return len(self.targets) > self.blocks

    def by_block(self) -> AllocationProblem:
        """Return the same problem with one target for each block."""
        merged = []
        for block, targets in itertools.groupby(self.targets, key=lambda target: target.block):
            merged.append(Target(block, tuple(linear for target in targets for linear in target.linears)))
        return replace(self, targets=tuple(merged))

    def spread(self, of_blocks: Sequence[ValueT]) -> tuple[ValueT, ...]:
        """Return for each target the value of its block."""
        return tuple(of_blocks[target.block - 1] for target in self.targets)

    def spread_weights(self, of_blocks: Weights) -> Weights:
        """Return for each target the weight, the start and the rule's own rank of its block.

        The rule's own ranks then cost what they cost with one rank for each block.
        """
        own = None if of_blocks.own_ranks is None else self.spread(of_blocks.own_ranks)
        return Weights(values=self.spread(of_blocks.values), start=self.spread(of_blocks.start), own_ranks=own)

    def largest_of_blocks(self, ranks: Ranks) -> Ranks:
        """Return the largest rank in each block; no ranks stay none."""
        if not ranks:
            return ()
        largest = [0] * self.blocks
        for target, rank in zip(self.targets, ranks, strict=True):
            largest[target.block - 1] = max(largest[target.block - 1], rank)
        return tuple(largest)

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
        # A signal may ask for more than a target's largest rank, which no rank can exceed. A start of 0 is a target
        # that the signal leaves out.
        start = tuple(min(max(0, rank), cap) for rank, cap in zip(weights.start, self.caps, strict=True))
        may_get_units = tuple(int(rank > 0 or value > 0) for rank, value in zip(start, weights.values, strict=True))
        # What does not depend on the ranks is paid first, also for targets that may end without a unit.
        fixed = self.fixed_cost(may_get_units)
        unit_bound = self.largest_cost - fixed
        if unit_bound >= self.unit_cost(start):
            return apportion(weights.values, start, self.caps, self.costs, unit_bound)
        least = tuple(min(1, rank) for rank in start)
        if shrinks and unit_bound >= self.unit_cost(least):
            # The start becomes the ceiling: units go only where a lower bound is not met yet.
            return apportion(weights.values, least, start, self.costs, unit_bound)
        raise self._deficit(start, least, fixed, shrinks=shrinks)

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
        return self.unit_cost(ranks) + self.fixed_cost(ranks)

    def unit_cost(self, ranks: Ranks) -> int:
        """Return the parameters of these units of rank alone."""
        return sum(rank * cost for rank, cost in zip(ranks, self.costs, strict=True))

    def fixed_cost(self, ranks: Ranks) -> int:
        """Return the parameters that do not depend on how large these ranks are; a target of rank 0 has none."""
        return sum(fixed for rank, fixed in zip(ranks, self.fixed_costs, strict=True) if rank)

    def within_caps(self, ranks: Iterable[int]) -> Ranks:
        """Return the ranks, each at least 1 and at most the target's largest."""
        return tuple(min(max(1, rank), cap) for rank, cap in zip(ranks, self.caps, strict=True))

    def _deficit(self, start: Ranks, least: Ranks, fixed: int, *, shrinks: bool) -> GeloraError:
        even, smallest = fixed + self.unit_cost(least), fixed + self.unit_cost(start)
        bound = self.largest_cost
        if shrinks or start == least:
            where = "in every block" if least == self.ones else "where the method adapts"
            need = f"rank 1 {where} costs {even:,}"
        else:
            need = f"the lower bounds of the ranks ({_join(self.largest_of_blocks(start))}) cost {smallest:,}"
        if fixed:
            need += f", of which {fixed:,} are what method.variant={self.rule.variant} costs beside the ranks"
        # Shrinking helps only if the budget holds rank 1 everywhere.
        remedy = "" if bound < even else ", or set ranks.on_deficit=shrink to go below the bounds"
        return GeloraError(
            f"budget={self.budget} gives the adapter {bound:,} parameters, but {need}; "
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
