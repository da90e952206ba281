"""GPT-2's linear layers, which transformers builds as `Conv1D`: as linears while we work, as `Conv1D` in files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D


class Conv1DLinear(nn.Linear):
    """A linear in the place of a `Conv1D`, of the same function `x W^T + b` with the weight transposed.

    The parameter is (out, in), as that of every linear, so whatever works on linears works on it unchanged. In a
    `state_dict` the weight is (in, out), as that of a `Conv1D`. So `save_pretrained` writes what transformers reads,
    and `load_state_dict` takes the tensors of either.
    """

    @classmethod
    def from_conv1d(cls, layer: Conv1D) -> Conv1DLinear:
        """Return the linear that computes what `layer` does; the bias is the same parameter."""
        in_features, out_features = layer.weight.shape
        linear = cls(in_features, out_features, device="meta")  # draws nothing, since the weights are replaced
        weight = layer.weight.detach().t().contiguous()  # (out, in)
        linear.weight = nn.Parameter(weight, requires_grad=layer.weight.requires_grad)
        linear.bias = layer.bias
        return linear.train(layer.training)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        # A copy, because safetensors refuses views, whose memory has another order.
        destination[f"{prefix}weight"] = destination[f"{prefix}weight"].t().contiguous()  # (in, out)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *others: Any) -> None:
        name = f"{prefix}weight"
        transposed = dict(state_dict)
        if name in transposed:
            transposed[name] = transposed[name].t()  # (out, in)
        super()._load_from_state_dict(transposed, prefix, *others)


def convert_conv1d(model: nn.Module) -> None:
    """Replace every `Conv1D` of a model by a linear of the same function; nothing to do for most models."""
    for name, module in list(model.named_modules()):
        if isinstance(module, Conv1D):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, Conv1DLinear.from_conv1d(module))


def holds_converted(model: nn.Module) -> bool:
    """Return whether a model holds linears that stand for `Conv1D`s, with or without an adapter around them."""
    for module in model.modules():
        # A linear whose weight is stored otherwise (`models.quantized`) says what it stands for.
        if isinstance(module, Conv1DLinear) or getattr(module, "stands_for_conv1d", False):
            return True
    return False


def linear_sizes(module: nn.Module | None) -> tuple[int, int] | None:
    """Return the inputs and outputs of a linear layer or a `Conv1D`; None of any other module."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        in_features, out_features = module.weight.shape
        return in_features, out_features
    return None
