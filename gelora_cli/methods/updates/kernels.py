"""Operations of a training step with fewer kernels than those of torch and PEFT, for `train.fast`.

B rows of a batch, T tokens, n = B T, r the rank of a linear.
"""

from __future__ import annotations

from typing import Any

import torch

LEVELS = 2**16
"""How many values a draw of 16 bits has."""


class LoraLinear(torch.autograd.Function):
    """A frozen linear and plain LoRA beside it: `x W^T + bias + scaling * (x A^T) B^T`, computed in the type of x.

    PEFT casts x up and down, multiplies by the scaling and adds in kernels of their own. Here the products add into
    the linear's output and into the gradient of x.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """Return the output (B, T, out).

        Args:
            ctx: what the way back needs.
            x: (B, T, in).
            weight: W (out, in) in the type of x, frozen.
            bias: (out,) in the type of x, frozen; None of a linear without one.
            a: A (r, in), trained, in float32.
            b: B (out, r), trained, in float32.
            scaling: `alpha / r`.
        """
        rows = x.reshape(-1, x.shape[-1])  # (n, in)
        down, up = a.to(x.dtype), (b * scaling).to(x.dtype)  # (r, in), (out, r)
        hidden = rows @ down.t()  # (n, r)
        output = rows @ weight.t() if bias is None else torch.addmm(bias, rows, weight.t())  # (n, out)
        output.addmm_(hidden, up.t())
        ctx.save_for_backward(rows, weight, down, up, hidden)
        ctx.scaling, ctx.shape = scaling, x.shape
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of x, A and B from that of the output, (B, T, out)."""
        rows, weight, down, up, hidden = ctx.saved_tensors
        above = gradients[0].reshape(-1, gradients[0].shape[-1])  # (n, out)
        of_hidden = above @ up  # (n, r)
        of_a = (of_hidden.t() @ rows).float()  # (r, in)
        of_b = (above.t() @ hidden).float().mul_(ctx.scaling)  # (out, r)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (above @ weight).addmm_(of_hidden, down).view(ctx.shape)  # (B, T, in)
        return of_x, None, None, of_a, of_b, None


class Dropout(torch.autograd.Function):
    """Dropout on the CPU whose mask takes 16 random bits of each element, where torch draws 64 one after the other.

    The probability is rounded to a multiple of 2^-16, and the scale `1 / (1 - p)` is that of the rounded one.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, probability: float) -> torch.Tensor:
        """Return x with each element zero with the probability, and scaled otherwise."""
        dropped = round(probability * LEVELS)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)  # four elements each
        bits = draws.view(torch.int16)[: x.numel()].view(x.shape)  # from -2^15 on
        kept = (bits >= dropped - LEVELS // 2).to(x.dtype).mul_(LEVELS / (LEVELS - dropped))
        ctx.save_for_backward(kept)
        return x * kept

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the gradient of x."""
        return gradients[0] * ctx.saved_tensors[0], None
