"""What the allocators share that read gradients of the pretrained weights (`signal-gradients.json`). No torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gelora_cli.allocation.linears import LinearAllocator
from gelora_cli.core.artifacts.signals import GradientNumbers, GradientSignal

GRADIENTS = "gradients"
"""The name of the signal."""


class GradientAllocator(LinearAllocator[GradientSignal]):
    """An allocator that takes one of the numbers of each linear's gradient."""

    signal = GRADIENTS

    @abstractmethod
    def number(self, numbers: GradientNumbers) -> float:
        """Return the number that is the weight."""

    def values(self, signal: GradientSignal, settings: object) -> Mapping[str, float]:
        """Return the number of each linear."""
        return {row.name: self.number(row.numbers) for row in signal.linears}

    def resampled(self, signal: GradientSignal) -> Sequence[GradientSignal]:
        """Return the signal without each tenth of its batches; none where that was not measured."""
        signals = []
        for tenth in range(min((len(row.jackknife) for row in signal.linears), default=0)):
            rows = [replace(row, numbers=row.jackknife[tenth], jackknife=()) for row in signal.linears]
            signals.append(replace(signal, linears=tuple(rows)))
        return signals
