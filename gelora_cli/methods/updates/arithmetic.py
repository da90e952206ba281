"""What a model computes with while optimizer steps are taken: its frozen weights, and with `train.fast` its blocks.

Whatever is swapped here is put back at the end, so that evaluations, observers and saved files never meet it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from peft.tuners.lora import Linear as PeftLinear
from peft.tuners.lora import LoraLayer
from torch import nn

from gelora_cli.methods.updates.checks import ADAPTER
from gelora_cli.methods.updates.kernels import LEVELS, Dropout, LoraLinear
from gelora_cli.models.conv1d import Conv1DLinear
from gelora_cli.models.recompute import swap_forward


@contextmanager
def training_arithmetic(
    blocks: Sequence[nn.Module], *, bf16: bool, fast: bool, kept: dict[int, torch.Tensor] | None = None
) -> Iterator[None]:
    """Compute the steps taken inside with frozen weights that are cast once, and with `fast` in other kernels.

    Autocast casts a frozen weight again at each of its uses. A copy in bfloat16 gives the same numbers, bitwise.

    With `fast` the blocks where plain LoRA trains and nothing else compute in one type, without autocast: hidden
    states between their layers, norms and the gradients of these are in bfloat16, too (in float32 they stay as they
    are). Their linears are `kernels.LoraLinear`, their dropout on the CPU is `kernels.Dropout`. Other blocks stay.

    Args:
        blocks: the transformer blocks, in their order.
        bf16: whether the model runs under autocast to bfloat16.
        fast: whether numbers may differ by rounding, and dropout by its draws.
        kept: keeps what was cast of weights on a GPU from one call to the next: CUDA graphs (`training.graphs`) read
            weights where they lay when they were captured. None: casts anew each time.
    """
    casts = {} if kept is None else kept
    with ExitStack() as swaps:
        for block in blocks:
            if fast and trains_plain_lora(block):
                _swap_block(block, torch.bfloat16 if bf16 else torch.float32, casts, swaps)
            elif bf16:
                for linear in _linears_called_alone(block):
                    _swap_weights(linear.parameters(recurse=False), torch.bfloat16, casts, swaps)
        yield


def trains_plain_lora(block: nn.Module) -> bool:
    """Return whether all that trains in a block is A and B of LoRA's own update, without dropout before A."""
    trained = {id(parameter) for parameter in block.parameters() if parameter.requires_grad}
    for layer in block.modules():
        if type(layer) is PeftLinear and not layer.lora_variant and not _has_dropout(layer):
            trained -= {id(layer.lora_A[ADAPTER].weight), id(layer.lora_B[ADAPTER].weight)}
    return not trained


def _has_dropout(layer: PeftLinear) -> bool:
    dropout = layer.lora_dropout[ADAPTER]
    return isinstance(dropout, nn.Dropout) and dropout.p > 0


def _linears_called_alone(block: nn.Module) -> Iterator[nn.Linear]:
    """Yield the frozen linears that nothing reads but their own call, which casts what it reads.

    DoRA reads the weights in float32 for its norms, and what a method of one's own does nobody knows.
    """
    for parent in block.modules():
        is_known = type(parent).__module__.startswith(("transformers.", "gelora_cli.models."))
        if isinstance(parent, LoraLayer):
            is_known = not parent.lora_magnitude_vector
        for child in parent.children():
            is_frozen = not any(parameter.requires_grad for parameter in child.parameters())
            is_plain = type(child) in (nn.Linear, Conv1DLinear)  # other subclasses may read their weights otherwise
            if isinstance(child, nn.Linear) and is_known and is_frozen and is_plain:
                yield child


def _swap_weights(
    parameters: Iterable[nn.Parameter], dtype: torch.dtype, casts: dict[int, torch.Tensor], swaps: ExitStack
) -> None:
    """Let the parameters hold copies of another type until `swaps` ends."""
    for parameter in parameters:
        swaps.callback(setattr, parameter, "data", parameter.data)
        cast = casts[id(parameter)] if id(parameter) in casts else parameter.data.to(dtype)
        if parameter.is_cuda:
            casts[id(parameter)] = cast
        parameter.data = cast


def _swap_block(block: nn.Module, dtype: torch.dtype, casts: dict[int, torch.Tensor], swaps: ExitStack) -> None:
    """Let a block compute in one type, with our kernels, until `swaps` ends."""
    frozen = (parameter for parameter in block.parameters() if not parameter.requires_grad)
    _swap_weights(frozen, dtype, casts, swaps)
    swap_forward(block, _in_one_type(block.forward, dtype), swaps)
    for module in block.modules():
        if type(module) is PeftLinear:
            swap_forward(module, _lora_forward(module), swaps)
        elif type(module) is nn.Dropout and 0 < round(module.p * LEVELS) < LEVELS:  # neither none nor all
            swap_forward(module, _dropout_forward(module), swaps)


def _in_one_type(forward: Callable[..., Any], dtype: torch.dtype) -> Callable[..., Any]:
    """Return the `forward` of a block with all its floating-point inputs in one type, and without autocast."""
    lowest = torch.finfo(dtype).min

    def cast(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            # A mask holds the lowest float32, which bfloat16 rounds to -inf. A row of nothing else (padding under a
            # window) would then be NaN.
            return value.clamp(min=lowest).to(dtype)
        if type(value) is tuple:  # a decoder's cosines and sines
            return tuple(cast(item) for item in value)
        return value

    def block_forward(hidden: torch.Tensor, *inputs: Any, **named: Any) -> Any:
        with torch.autocast(hidden.device.type, enabled=False):
            return forward(hidden.to(dtype), *map(cast, inputs), **{name: cast(value) for name, value in named.items()})

    return block_forward


def _lora_forward(layer: PeftLinear) -> Callable[..., Any]:
    base: Any = layer.get_base_layer()
    a, b, scaling = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER], layer.scaling[ADAPTER]

    def lora_forward(x: torch.Tensor) -> Any:
        return LoraLinear.apply(x, base.weight, base.bias, a.weight, b.weight, scaling)  # type: ignore[no-untyped-call]

    return lora_forward


def _dropout_forward(dropout: nn.Dropout) -> Callable[..., Any]:
    plain = dropout.forward

    def dropout_forward(x: torch.Tensor) -> Any:
        if not dropout.training or x.device.type != "cpu":  # other devices draw all elements at once
            return plain(x)
        return Dropout.apply(x, dropout.p)  # type: ignore[no-untyped-call]

    return dropout_forward
