"""Controls: the units of GeLoRA's ranks on other blocks, or with `ranks.granularity=module` on other modules.

Each has the same total as GeLoRA's ranks and keeps within the budget and the largest ranks. What a seed draws
is the same on every machine.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable

from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.base import Allocation
from gelora_cli.allocation.growth import IdimAllocator
from gelora_cli.allocation.notes import control_note
from gelora_cli.allocation.problem import AllocationProblem, Weights
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import ALLOCATORS

IsFeasible = Callable[[Ranks], bool]
DRAWS = 10_000
"""How many assignments are drawn before a control gives up: blocks that cost differently leave few that fit."""


class Control(IdimAllocator):
    """GeLoRA's ranks, moved to other blocks."""

    basis = "control"

    def allocate(self, problem: AllocationProblem, weights: Weights, seed: int) -> Ranks:
        """Return GeLoRA's units of rank on other blocks."""
        return self.move(problem.apportion(weights), problem.is_feasible, seed)

    @abstractmethod
    def move(self, ranks: Ranks, is_feasible: IsFeasible, seed: int) -> Ranks:
        """Return feasible ranks with the same total.

        Raises:
            GeloraError: there are none.
        """

    def note(self, signal: IdProfile, allocation: Allocation) -> str:
        """Return GeLoRA's ranks, which these are compared with."""
        return control_note(allocation)


@ALLOCATORS.register
class Shuffled(Control):
    """A permutation of GeLoRA's ranks."""

    name = "shuffled"

    def move(self, ranks: Ranks, is_feasible: IsFeasible, seed: int) -> Ranks:
        """Return a drawn permutation of the ranks."""
        return shuffle_ranks(ranks, is_feasible, seed)


@ALLOCATORS.register
class RandomAssignment(Control):
    """Any assignment with the total of GeLoRA's ranks."""

    name = "random"

    def move(self, ranks: Ranks, is_feasible: IsFeasible, seed: int) -> Ranks:
        """Return a drawn assignment of the units."""
        return draw_ranks(ranks, is_feasible, seed)


@ALLOCATORS.register
class Reversed(Control):
    """GeLoRA's ranks from the last block to the first."""

    name = "reversed"

    def allocate(self, problem: AllocationProblem, weights: Weights, seed: int) -> Ranks:
        """Return `r_(L + 1 - i)`; a module then has the rank of the same module there. `seed` changes nothing."""
        ranks = problem.apportion(weights)
        if not problem.has_modules:
            return self.move(ranks, problem.is_feasible, seed)
        of_blocks: dict[int, Ranks] = {}
        for target, rank in zip(problem.targets, ranks, strict=True):
            of_blocks[target.block] = (*of_blocks.get(target.block, ()), rank)
        reversed_blocks = [rank for block in reversed(of_blocks.values()) for rank in block]
        return _if_feasible(tuple(reversed_blocks), problem.is_feasible)

    def move(self, ranks: Ranks, is_feasible: IsFeasible, seed: int) -> Ranks:
        """Return the ranks in reverse."""
        return reverse_ranks(ranks, is_feasible)


def shuffle_ranks(ranks: Ranks, is_feasible: IsFeasible, seed: int) -> Ranks:
    """Return a permutation of the ranks that changes them, uniform over those; equal ranks as they are.

    Raises:
        GeloraError: none of the drawn permutations is feasible.
    """
    if len(set(ranks)) == 1:
        return ranks  # no permutation changes them
    generator = random.Random(f"shuffled {seed}")

    def draw() -> Ranks:
        return tuple(generator.sample(ranks, len(ranks)))

    return _first_accepted(draw, lambda drawn: drawn != ranks and is_feasible(drawn))


def draw_ranks(ranks: Ranks, is_feasible: IsFeasible, seed: int) -> Ranks:
    """Return ranks drawn uniformly from all with the same total and every block at least 1.

    An assignment of T units to L blocks is a choice of L - 1 of the T - 1 places between units.

    Raises:
        GeloraError: none of the drawn assignments is feasible.
    """
    # Seeded by a text: Python hashes it by sha512, the same on every machine and for every version since 3.2.
    generator, total = random.Random(f"random {seed}"), sum(ranks)

    def draw() -> Ranks:
        cuts = sorted(generator.sample(range(1, total), len(ranks) - 1))
        return tuple(after - before for before, after in zip([0, *cuts], [*cuts, total], strict=True))

    return _first_accepted(draw, is_feasible)


def reverse_ranks(ranks: Ranks, is_feasible: IsFeasible) -> Ranks:
    """Return the ranks in reverse.

    Raises:
        GeloraError: they are not feasible.
    """
    return _if_feasible(ranks[::-1], is_feasible)


def _if_feasible(ranks: Ranks, is_feasible: IsFeasible) -> Ranks:
    """Return ranks that nothing is drawn for.

    Raises:
        GeloraError: they are not feasible.
    """
    if not is_feasible(ranks):
        raise _no_assignment()
    return ranks


def _first_accepted(draw: Callable[[], Ranks], is_accepted: Callable[[Ranks], bool]) -> Ranks:
    """Return the first drawn ranks that are accepted.

    Raises:
        GeloraError: none of so many draws is.
    """
    for _ in range(DRAWS):
        drawn = draw()
        if is_accepted(drawn):
            return drawn
    raise _no_assignment()


def _no_assignment() -> GeloraError:
    return GeloraError(
        "no such assignment of the same total keeps within the budget and the largest ranks of the blocks, whose units "
        "cost differently here; take another budget or method"
    )
