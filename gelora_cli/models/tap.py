"""A function that changes nothing and tells, on the way back, what a linear read and the gradient of what it gave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Listener = Callable[[torch.Tensor, torch.Tensor], None]
"""Gets what was read (..., in) and the gradient of what was given (..., out)."""


class Tap(torch.autograd.Function):
    """The identity of a linear's output, which saves its input as autograd saves tensors.

    A tensor that a hook holds would stay in memory where blocks are computed a second time on the way back.
    """

    @staticmethod
    def forward(ctx: Any, output: torch.Tensor, read: torch.Tensor, listener: Listener) -> torch.Tensor:
        """Return the output (..., out) of a linear that read (..., in)."""
        ctx.save_for_backward(read)
        ctx.listener = listener
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Tell the listener, and pass the gradient (..., out) on."""
        (read,) = ctx.saved_tensors
        ctx.listener(read, gradient)
        return gradient, None, None
