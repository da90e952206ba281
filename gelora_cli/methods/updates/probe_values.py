"""What parameters that start at zero hold while gradients are probed before training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

SMALL = 1e-3
"""Standard deviation [ours]: small beside weights, and products of two are far above the smallest float32."""


@torch.no_grad()
def small_values(parameters: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
    """Return values from N(0, SMALL^2) for those parameters that are zero, by name.

    They come from a generator of their own, so that the global random state stays.
    """
    generator = torch.Generator().manual_seed(0)
    values = {}
    for name, parameter in parameters.items():
        if not parameter.any():
            drawn = torch.randn(parameter.shape, generator=generator) * SMALL
            values[name] = drawn.to(device=parameter.device, dtype=parameter.dtype)
    return values
