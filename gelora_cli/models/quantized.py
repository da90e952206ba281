"""Frozen weights that take less memory than float32: in bfloat16, or in the four bits of NF4.

NF4 with double quantisation is QLoRA's (Dettmers et al., arXiv 2305.14314, section 3), by bitsandbytes. A block of 64
weights shares a scale, and 256 scales share one of their own: 0.516 bytes a weight. What a weight is computed with is
another matter: `precision` says it.

Letters: B examples, T tokens.
"""

from __future__ import annotations

import copy
import importlib
import sys
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.heavy_imports import without_hub_kernels
from gelora_cli.core.install import install_gelora
from gelora_cli.core.messages import first_line
from gelora_cli.models.block_map import is_inside
from gelora_cli.models.conv1d import Conv1DLinear

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gelora_cli.models.load import LoadedModel

BLOCK = 64
"""Weights that share a scale, as in QLoRA."""


class StoredLinear(nn.Linear):
    """A frozen linear whose `weight` is not what it computes with; `linear_weight` gives that.

    Its bias stays in float32. No copy of the weight is kept for the way back: it is made again there.

    Attributes:
        compute_dtype: what PEFT reads to choose the type of an adapter.
        stands_for_conv1d: whether it is in the place of a `Conv1D` (`models.conv1d`).
    """

    compute_dtype: ClassVar[torch.dtype] = torch.float32
    stands_for_conv1d: bool

    def __init__(self, base: nn.Linear, stored: torch.Tensor | nn.Parameter) -> None:
        # On the meta device nothing is drawn and nothing allocated.
        super().__init__(base.in_features, base.out_features, bias=base.bias is not None, device="meta")
        is_parameter = isinstance(stored, nn.Parameter)
        self.weight = stored if is_parameter else nn.Parameter(stored, requires_grad=False)
        self.bias = base.bias
        self.stands_for_conv1d = isinstance(base, Conv1DLinear)
        self.train(base.training)

    @abstractmethod
    def weight_in(self, dtype: torch.dtype) -> torch.Tensor:
        """Return the weight as it is computed with, (out, in) in this type."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, T, in)
        """Return `x W^T + b`, (B, T, out), in the type of autocast, or of `x` where there is none."""
        if self.weight.requires_grad:
            raise RuntimeError("a weight that is stored in another type is frozen: it gets no gradient")
        device = x.device.type
        if torch.is_autocast_enabled(device):
            x = x.to(torch.get_autocast_dtype(device))
        bias = None if self.bias is None else self.bias.to(x.dtype)
        # Of rows, so that what the function gives is no view: AdaLoRA adds to the output in place.
        rows: torch.Tensor = _Product.apply(x.reshape(-1, self.in_features), self, bias)  # type: ignore[no-untyped-call]
        return rows.view(*x.shape[:-1], self.out_features)


class _Product(torch.autograd.Function):
    """`x W^T + b` of rows x (N, in) and a stored weight, which is made again on the way back rather than kept."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, linear: StoredLinear, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.linear = linear
        return nn.functional.linear(x, linear.weight_in(x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return gradient @ ctx.linear.weight_in(gradient.dtype), None, None  # (N, in)


class Bf16Linear(StoredLinear):
    """A frozen linear whose weight is stored in bfloat16.

    Under autocast to bfloat16 it gives what the same weight stored in float32 gives, bitwise: autocast rounds it at
    each use.
    """

    def weight_in(self, dtype: torch.dtype) -> torch.Tensor:
        """Return the weight, (out, in) in this type."""
        return self.weight.detach().to(dtype)


class Nf4Linear(StoredLinear):
    """A frozen linear whose weight is stored in NF4 with double quantisation.

    `weight` is (in * out / 2, 1) uint8, two weights a byte. bitsandbytes packs and unpacks, but this is a linear of
    ours and not its `Linear4bit`, which does two things on the CPU without a message (seen with version 0.50.2). Where
    there is AVX-512 BF16 it packs its weight anew at the first evaluation: after that no gradient passes through it,
    and reading it back gives garbage. And where `in` is no multiple of 64 it unpacks with the wrong scales; here the
    weight is unpacked as one row.

    Raises:
        GeloraError: bitsandbytes is not installed.
    """

    def __init__(self, base: nn.Linear, device: torch.device) -> None:
        weight = base.weight.detach().to(device)  # (out, in)
        packed, scales = load_bitsandbytes().functional.quantize_4bit(
            weight, blocksize=BLOCK, compress_statistics=True, quant_type="nf4"
        )
        super().__init__(base, packed)
        scales.shape = torch.Size([weight.numel()])  # one row
        self.scales: Any = scales  # no buffers: in DDP every forward pass would send those to all processes

    def weight_in(self, dtype: torch.dtype) -> torch.Tensor:
        """Return the weight that the four bits stand for, (out, in) in this type."""
        scales = copy.copy(self.scales)
        scales.dtype = dtype
        row: torch.Tensor = load_bitsandbytes().functional.dequantize_4bit(self.weight.detach(), scales)
        return row.view(self.out_features, self.in_features)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Nf4Linear:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.scales.to(self.weight.device)
        return self


def linear_weight(module: nn.Module) -> torch.Tensor:
    """Return the weight of a linear as it is computed with, (out, in) float32, however it is stored.

    A weight stored in float32 is returned as it is, not copied.
    """
    if isinstance(module, StoredLinear):
        return module.weight_in(torch.float32)
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach().float()


def weight_count(module: nn.Linear) -> int:
    """Return how many weights a linear has, however they are stored; its bias is not counted."""
    return module.in_features * module.out_features


def store_weights(loaded: LoadedModel, dtype: str, device: torch.device) -> LoadedModel:
    """Store the frozen weights of a model in another type, after it was mapped and its parameters were counted.

    The linears of the blocks become `Bf16Linear` or `Nf4Linear`. The input embeddings, and the output embeddings of a
    language model, are in bfloat16 either way. Head, norms, biases and all else stay in float32.

    Args:
        loaded: the model in float32, or in bfloat16 as it was published; it is changed.
        dtype: `float32` (nothing is done), `bf16` or `4bit`.
        device: where weights are quantised, one linear at a time.

    Raises:
        GeloraError: `4bit` without bitsandbytes.
    """
    if dtype == "float32":
        return loaded
    model, blocks = loaded.model, [block.name for block in loaded.map.blocks]
    outside: list[str] = []
    for names in _linear_names(model):
        if not is_inside(f"{names[0]}.weight", blocks):
            outside += names
            continue
        linear = model.get_submodule(names[0])
        assert isinstance(linear, nn.Linear)
        stored = Nf4Linear(linear, device) if dtype == "4bit" else _in_bf16(linear)
        for name in names:  # after the last one nothing holds the linear, so that its memory is free for the next
            _replace(model, name, stored)
    _store_embeddings(model, loaded.map.head_modules)
    _rest_to_float32(model)
    return replace(loaded, outside_blocks=tuple(outside))


def _linear_names(model: nn.Module) -> list[list[str]]:
    """Return the names of every linear; one that stands in several places has several."""
    names: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, nn.Linear):
            names.setdefault(id(module), []).append(name)
    return list(names.values())


def _in_bf16(linear: nn.Linear) -> Bf16Linear:
    return Bf16Linear(linear, linear.weight.detach().to(torch.bfloat16))


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def _store_embeddings(model: PreTrainedModel, head: Sequence[str]) -> None:
    """Store the embeddings of tokens in bfloat16, those behind a language model's logits too; tied ones stay one."""
    names = {module: name for name, module in model.named_modules()}
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if not isinstance(inputs, nn.Embedding):
        return
    tokens = inputs.weight  # (vocabulary, D)
    inputs.weight = nn.Parameter(tokens.detach().to(torch.bfloat16), requires_grad=False)
    inputs.register_forward_hook(_to_float32)
    if not isinstance(outputs, nn.Linear) or is_inside(f"{names[outputs]}.weight", head):
        return
    tied = outputs.weight is tokens
    _replace(model, names[outputs], Bf16Linear(outputs, inputs.weight) if tied else _in_bf16(outputs))


def _rest_to_float32(model: PreTrainedModel) -> None:
    """Bring norms, biases and buffers of a model that was loaded in bfloat16 to float32, which holds them exactly."""
    stored = {id(module.weight) for module in model.modules() if isinstance(module, StoredLinear)}
    tokens = model.get_input_embeddings().weight
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dtype == torch.bfloat16 and tensor is not tokens and id(tensor) not in stored:
            tensor.data = tensor.data.float()


def _to_float32(module: nn.Module, given: object, hidden: torch.Tensor) -> torch.Tensor:
    """Return what embeddings give, (B, T, D), in float32, which is what norms and sums between blocks compute in."""
    return hidden.float()


def load_bitsandbytes() -> Any:
    """Return the module bitsandbytes, without the kernel that it would fetch from the hub.

    Raises:
        GeloraError: it is not installed.
    """
    if "bitsandbytes" in sys.modules:
        return sys.modules["bitsandbytes"]
    try:
        with without_hub_kernels():
            return importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise GeloraError(
            f"model.dtype=4bit needs the package bitsandbytes ({first_line(error)}): {install_gelora('4bit')}"
        ) from error
