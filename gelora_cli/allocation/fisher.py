"""Ranks by the diagonal of the empirical Fisher information; no torch.

Proposed in huggingface/peft#3204 (closed, not merged): ranks in proportion to the mean squared gradient of each layer.
Its code looks at the gradient of LoRA's A, which is zero as long as B is. Here it is the gradient of the pretrained
weight, of which the proposal speaks.
"""

from __future__ import annotations

from gelora_cli.allocation.gradients import GradientAllocator
from gelora_cli.core.artifacts.signals import GradientNumbers
from gelora_cli.core.registries import ALLOCATORS


@ALLOCATORS.register
class Fisher(GradientAllocator):
    """Weights are the mean over parameters and batches of the squared gradient."""

    name = "fisher"

    def number(self, numbers: GradientNumbers) -> float:
        """Return the mean squared gradient."""
        return numbers.fisher
