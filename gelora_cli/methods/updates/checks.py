"""What methods share in torch: freezing, counting, and reading back what was attached."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.errors import GeloraError
from gelora_cli.models.block_map import is_inside

ADAPTER = "default"
"""The name that PEFT gives the one adapter of a model."""
PEFT_PREFIX, PEFT_HEAD = "base_model.model.", ".modules_to_save.default"


def plain_model(model: nn.Module) -> PreTrainedModel:
    """Return the task model without PEFT's wrapper; modules of a method stay in it."""
    plain: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(plain, PreTrainedModel)
    return plain


def base_name(name: str) -> str:
    """Return the name that a parameter has without PEFT's wrapper."""
    return name.removeprefix(PEFT_PREFIX).replace(PEFT_HEAD, "")


def trainable_params(model: nn.Module, head_modules: Sequence[str]) -> tuple[int, int]:
    """Count the trainable parameters of the adapter and of the head in the modules themselves."""
    sizes = {base_name(name): tensor.numel() for name, tensor in model.named_parameters() if tensor.requires_grad}
    head = sum(size for name, size in sizes.items() if is_inside(name, head_modules))
    return sum(sizes.values()) - head, head


def freeze_except(model: nn.Module, head_modules: Sequence[str], also: Collection[str] = ()) -> None:
    """Freeze the model but for its head and the parameters of these names."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in also or is_inside(name, head_modules))


def count_problems(model: nn.Module, plan: RankPlan, model_map: ModelMap) -> list[str]:
    """Return where the trainable parameters differ from the plan's."""
    adapter, head = trainable_params(model, model_map.head_modules)
    counts = (("adapter", adapter, plan.trained_params), ("head", head, model_map.head_params))
    return [f"{name} parameters {actual} instead of {wanted}" for name, actual, wanted in counts if actual != wanted]


def raise_on_mismatch(problems: Sequence[str]) -> None:
    """Stop where what was attached is not what was planned.

    Raises:
        GeloraError: naming the first five differences.
    """
    if problems:
        raise GeloraError(f"the adapter differs from the plan, nothing was trained: {'; '.join(problems[:5])}")


def head_state(model: nn.Module, head_modules: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return the head's trained tensors by the names that they have without a method."""
    return {
        base_name(name): tensor.detach()
        for name, tensor in model.named_parameters()
        if tensor.requires_grad and is_inside(base_name(name), head_modules)
    }
