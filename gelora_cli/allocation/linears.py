"""Weights from one number for each linear: what the allocators of gradients, activations and weights share. No torch.

A target of one linear takes its number. A target of several, such as a block, takes the mean of theirs [ours].
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import ClassVar

from gelora_cli.allocation.base import Allocator, SignalT
from gelora_cli.allocation.problem import AllocationProblem, Granularity, Weights, exact_number
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_texts


class LinearAllocator(Allocator[SignalT]):
    """An allocator whose signal says one number for each linear: the larger, the more rank."""

    granularity: ClassVar[Granularity] = "module"
    has_common_scale: ClassVar[bool] = True

    @abstractmethod
    def values(self, signal: SignalT, settings: object) -> Mapping[str, float]:
        """Return the number of each linear by its full name; `settings` are the keys of the method."""

    def weigh(self, signal: SignalT, problem: AllocationProblem) -> Weights:
        """Return the numbers as weights, from rank 1 on."""
        return Weights.proportional(means_of_targets(self.values(signal, problem.settings), problem, self.signal))


def means_of_targets(values: Mapping[str, float], problem: AllocationProblem, signal: str) -> tuple[Fraction, ...]:
    """Return for each target the mean of its linears' numbers, exact.

    Raises:
        GeloraError: the signal lacks a linear, or has a number for it that is not finite.
    """
    check_measured([linear.name for target in problem.targets for linear in target.linears], values, signal)
    means = []
    for target in problem.targets:
        numbers = [exact_number(values[linear.name], f"signal {signal} of {linear.name}") for linear in target.linears]
        means.append(sum(numbers, Fraction(0)) / len(numbers))
    return tuple(means)


def check_measured(names: Sequence[str], measured: Mapping[str, object], signal: str) -> None:
    """Check that a signal has a row for every linear that is adapted.

    Raises:
        GeloraError: it has not.
    """
    missing = [name for name in names if name not in measured]
    if missing:
        raise GeloraError(
            f"the signal {signal} has no row for {join_texts(missing, most=1)}: it was measured on another "
            "model. Measure again with force=true."
        )
