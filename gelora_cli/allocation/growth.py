"""GeLoRA's own ranks: units go where the intrinsic dimension grows (arXiv 2412.09250); no torch, no numpy."""

from __future__ import annotations

from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.base import AllocationProblem, Allocator
from gelora_cli.core.registries import ALLOCATORS


@ALLOCATORS.register
class Growth(Allocator):
    """Ranks in proportion to the growth of the idim across each block (see `allocation.ranks.plan_ranks`)."""

    name = "growth"
    follows_growth = True

    def allocate(self, problem: AllocationProblem, seed: int) -> Ranks:
        """Return the ranks of the rule; `seed` changes nothing."""
        return problem.growth_ranks
