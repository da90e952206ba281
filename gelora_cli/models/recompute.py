"""Gradient checkpointing: keep each block's input alone, and compute the block again on the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def recomputing(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Compute every block a second time on the way back, in place of keeping what is inside (Chen et al., 2016).

    Losses and gradients stay the same, bitwise: random states and autocast are those of the first pass. It holds in
    evaluation mode, too, in which gradient signals are measured. transformers' own switch does nothing there.

    Args:
        blocks: the transformer blocks; none changes nothing. A block that runs several times keeps each of its inputs.
    """
    with ExitStack() as swaps:
        for block in blocks:
            swap_forward(block, _recomputed(block.forward), swaps)
        yield


def swap_forward(module: nn.Module, forward: Callable[..., Any], swaps: ExitStack) -> None:
    """Let a module have another `forward` until `swaps` ends."""
    # What lies in the instance hides the class's method, and is there only if somebody else has put it there.
    if "forward" in vars(module):
        swaps.callback(setattr, module, "forward", module.forward)
    else:
        swaps.callback(delattr, module, "forward")
    module.forward = forward


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    import torch
    from torch.utils.checkpoint import checkpoint

    @wraps(forward)  # transformers reads the names of a block's arguments
    def recomputed(*inputs: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():  # evaluation, where a decoder may also fill a cache: nothing is kept anyway
            return forward(*inputs, **named)
        return checkpoint(forward, *inputs, use_reentrant=False, **named)

    return recomputed
