"""What a method gives to the loop: a model with trainable parts, and hooks that do nothing unless it needs them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from gelora_cli.core.artifacts import ModelMap, RankPlan
from gelora_cli.core.errors import GeloraError
from gelora_cli.models.block_map import in_modules

if TYPE_CHECKING:
    from gelora_cli.config.schema import MethodConfig

Inputs = dict[str, torch.Tensor]


class SizedInputs(Protocol):
    """Inputs of so many batches, one after the other."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Inputs]: ...


PEFT_PREFIX, PEFT_HEAD = "base_model.model.", ".modules_to_save.default"


@dataclass(frozen=True)
class AttachRequest:
    """What a method may need to attach itself.

    `settings` are the method's; `seed` draws its new parameters; training takes `total_steps` optimizer steps.
    With `keep_start` a method that moves the model's own weights keeps a copy of them, so that it can say how far.
    `batches(n)` are the model's inputs of one epoch in training's batches, or larger ones of about n tokens. `once(f)`
    is `f()`, called by the main process alone and given to all of them.
    """

    model: PreTrainedModel
    model_map: ModelMap
    plan: RankPlan
    settings: MethodConfig
    seed: int
    total_steps: int = 1
    keep_start: bool = False
    batches: Callable[[int], SizedInputs] = lambda tokens: ()
    once: Callable[[Callable[[], Any]], Any] = lambda compute: compute()


@dataclass(frozen=True)
class Attached:
    """A model ready to train, and the plan as it was attached.

    `save(directory)` writes what is needed to load the adapter again. `extra_loss()` is added to the loss of every
    step; `after_step(step)` runs after every optimizer step, counted from 1, while gradients are there. A method whose
    ranks move while it trains has `moving_ranks()`: every module's rank as it is now and the parameters that those
    cost. Its weights may be selected only once `settled()`: from then on they keep within the budget. `state()` is what
    a checkpoint needs of the method beside parameters and optimizer, and `load_state` takes it back. `updates()` is how
    far every adapted linear's weight has moved, (out, in) by name, of a method that moves any. `observe(step, epoch)`
    may look at the model before the first step and after every evaluation; it changes nothing.
    """

    model: nn.Module
    plan: RankPlan
    save: Callable[[Path], None]
    extra_loss: Callable[[], torch.Tensor] | None = None
    after_step: Callable[[int], None] | None = None
    moving_ranks: Callable[[], tuple[dict[str, int], int]] | None = None
    settled: Callable[[], bool] = lambda: True
    state: Callable[[], dict[str, torch.Tensor]] | None = None
    load_state: Callable[[dict[str, torch.Tensor]], None] | None = None
    updates: Callable[[], dict[str, torch.Tensor]] | None = None
    observe: Callable[[int, int], None] = lambda step, epoch: None

    def trainable(self) -> dict[str, nn.Parameter]:
        """Name to parameter, of what trains."""
        return trainable(self.model)

    def ranks(self) -> tuple[dict[str, int], int]:
        """Every planned module's rank as it is now, and the adapter's parameters that are not masked."""
        if self.moving_ranks is not None:
            return self.moving_ranks()
        return self.plan.rank_pattern, self.plan.adapter_params


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name to parameter, of what trains."""
    return {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}


def below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def plain_model(model: nn.Module) -> PreTrainedModel:
    """The task model without PEFT around it, a method's modules still in it."""
    found: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(found, PreTrainedModel)
    return found


def base_name(name: str) -> str:
    """A parameter's name as it is without PEFT around the model."""
    return name.removeprefix(PEFT_PREFIX).replace(PEFT_HEAD, "")


def trainable_params(model: nn.Module, head_modules: Sequence[str]) -> tuple[int, int]:
    """Trainable parameters counted in the modules: of the adapter, and of the head."""
    sizes = {base_name(name): tensor.numel() for name, tensor in model.named_parameters() if tensor.requires_grad}
    head = sum(size for name, size in sizes.items() if in_modules(name, head_modules))
    return sum(sizes.values()) - head, head


def freeze_but(model: nn.Module, head_modules: Sequence[str], also: Collection[str] = ()) -> None:
    """Freeze the model but for its head and the parameters of these names."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in also or in_modules(name, head_modules))


def count_problems(model: nn.Module, plan: RankPlan, model_map: ModelMap) -> list[str]:
    """Where the trainable parameters differ from the plan's."""
    adapter, head = trainable_params(model, model_map.head_modules)
    counts = (("adapter", adapter, plan.trained_params), ("head", head, model_map.head_params))
    return [f"{name} parameters {found} instead of {wanted}" for name, found, wanted in counts if found != wanted]


def refuse_differences(problems: Sequence[str]) -> None:
    """Stop where what was attached is not what was planned.

    Raises:
        GeloraError: naming the first five differences.
    """
    if problems:
        raise GeloraError(f"the adapter differs from the plan, nothing was trained: {'; '.join(problems[:5])}")


def head_state(model: nn.Module, head_modules: Sequence[str]) -> dict[str, torch.Tensor]:
    """The head's trained tensors by their names in the model without a method."""
    return {
        base_name(name): tensor.detach()
        for name, tensor in model.named_parameters()
        if tensor.requires_grad and in_modules(base_name(name), head_modules)
    }
