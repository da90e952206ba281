"""The same rank everywhere, as far as a budget can be shared out evenly; no torch, no numpy."""

from __future__ import annotations

from gelora_cli.allocation.base import Allocation
from gelora_cli.allocation.growth import IdimAllocator
from gelora_cli.allocation.notes import control_note
from gelora_cli.allocation.problem import AllocationProblem, Weights
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.registries import ALLOCATORS


@ALLOCATORS.register
class Uniform(IdimAllocator):
    """Equal weights from rank 1, also if GeLoRA's own ranks can't meet the budget.

    It reads the profile all the same: its plan shows what GeLoRA would do, and is compared with it.
    """

    name = "uniform"
    basis = "control"

    def weigh(self, signal: IdProfile, problem: AllocationProblem) -> Weights:
        """Return equal weights."""
        return Weights.proportional(problem.ones)

    def note(self, signal: IdProfile, allocation: Allocation) -> str:
        """Return GeLoRA's ranks, which these are compared with, and that these follow no profile."""
        return f"{control_note(allocation)} Uniform ranks don't follow the profile."
