"""Ranks by the position of a block alone: a control for everything that is measured. No torch."""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol, cast

from gelora_cli.allocation.base import Allocator
from gelora_cli.allocation.problem import AllocationProblem, Weights
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import ALLOCATORS

SHAPES = ("rising", "falling", "top")


class DepthKeys(Protocol):
    """The keys of a method that chooses ranks by depth."""

    shape: str
    top: int


@ALLOCATORS.register
class Depth(Allocator[None]):
    """Weights i (rising), L + 1 - i (falling), or 1 in the last K blocks and none elsewhere (top)."""

    name = "depth"
    signal = ""
    basis = "control"

    def weigh(self, signal: None, problem: AllocationProblem) -> Weights:
        """Return the weight of each target's block; with `top` the other blocks start at rank 0 and stay there.

        Raises:
            GeloraError: there are fewer than K blocks.
        """
        keys, blocks = cast("DepthKeys", problem.settings), problem.blocks
        numbers = range(1, blocks + 1)
        if keys.shape == "rising":
            return Weights.proportional(problem.spread([Fraction(number) for number in numbers]))
        if keys.shape == "falling":
            return Weights.proportional(problem.spread([Fraction(blocks + 1 - number) for number in numbers]))
        if keys.top > blocks:
            raise GeloraError(f"method.top={keys.top}: the model has {blocks} blocks; give {blocks} or less")
        is_top = [int(number > blocks - keys.top) for number in numbers]
        return Weights(values=problem.spread([Fraction(top) for top in is_top]), start=problem.spread(is_top))
