"""The same rank everywhere, as far as a budget can be shared out evenly; no torch, no numpy."""

from __future__ import annotations

from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.base import AllocationProblem, Allocator
from gelora_cli.core.registries import ALLOCATORS


@ALLOCATORS.register
class Uniform(Allocator):
    """Equal weights; it goes on where GeLoRA's own ranks can't meet the budget."""

    name = "uniform"
    needs_growth_ranks = False

    def allocate(self, problem: AllocationProblem, seed: int) -> Ranks:
        """Return the even ranks; `seed` changes nothing."""
        return problem.uniform_ranks
