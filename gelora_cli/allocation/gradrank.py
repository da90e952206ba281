"""Ranks by the effective rank of the gradient; no torch.

RaLoRA (ICLR 2026) estimates by it how many directions an update needs: `exp(H)` with H the entropy of the singular
values over their sum (Roy and Vetterli, 2007). RaLoRA keeps ranks even and splits the adapter; its published code has
ranks by that number as an option (`ralora_allocate_by_erank`), and only this is here.
"""

from __future__ import annotations

from gelora_cli.allocation.gradients import GradientAllocator
from gelora_cli.core.artifacts.signals import GradientNumbers
from gelora_cli.core.registries import ALLOCATORS


@ALLOCATORS.register
class GradRank(GradientAllocator):
    """Weights are the effective rank of the gradient over all batches."""

    name = "gradrank"

    def number(self, numbers: GradientNumbers) -> float:
        """Return the effective rank of the mean gradient."""
        return numbers.effective_rank
