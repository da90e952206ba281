"""Ranks by the spectrum of the pretrained weights, which no data changes: does the task matter? No torch.

PEFT's KappaTune also chooses by the spectrum of W alone: it adapts the linears with the smallest condition number and
ranks them alike. The effective rank as the weight of a rank is a choice of this project [ours].
"""

from __future__ import annotations

from collections.abc import Mapping

from gelora_cli.allocation.linears import LinearAllocator
from gelora_cli.core.artifacts.signals import WeightSignal
from gelora_cli.core.registries import ALLOCATORS


@ALLOCATORS.register
class WeightRank(LinearAllocator[WeightSignal]):
    """Weights are the effective rank of each linear's weight. There is no sample, so nothing to resample."""

    name = "weights"
    signal = "weights"
    basis = "fixed"

    def values(self, signal: WeightSignal, settings: object) -> Mapping[str, float]:
        """Return `exp(entropy)` of the singular values over their sum, by linear."""
        return {row.name: row.effective_rank for row in signal.linears}
