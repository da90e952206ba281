"""Torch's own count of floating-point operations."""

from __future__ import annotations

from collections.abc import Callable

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_operations(work: Callable[[], object]) -> int:
    """Return how many operations torch counts while `work` runs.

    Without gradients torch's counter fails on modules that read a parameter itself, so `work` has to run with them.
    """
    # Fused kernels of the attention on the CPU are unknown to torch's counter.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())
