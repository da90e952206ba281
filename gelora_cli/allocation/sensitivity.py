"""Ranks by the loss that removing a weight costs in second order; no torch.

Sensitivity-LoRA (arXiv 2509.09119) takes the diagonal of the Hessian. Here the Fisher information stands for it, so
that one gradient pass serves all: `sum W^2 F` over the parameters of a linear. The paper also has local measures and
mixes them, whose formulas could not be read and which are not here.
"""

from __future__ import annotations

from gelora_cli.allocation.gradients import GradientAllocator
from gelora_cli.core.artifacts.signals import GradientNumbers
from gelora_cli.core.registries import ALLOCATORS


@ALLOCATORS.register
class Sensitivity(GradientAllocator):
    """Weights are the sum over parameters of the squared weight times its mean squared gradient."""

    name = "sensitivity"

    def number(self, numbers: GradientNumbers) -> float:
        """Return that sum."""
        return numbers.sensitivity
