"""What a fine-tuning method is, and what it hands to the loop; importing this file imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from gelora_cli.allocation.base import IDIM
from gelora_cli.allocation.planning import PlanRequest
from gelora_cli.config.schema import MethodConfig
from gelora_cli.core.artifacts.adapter import SavedAdapter
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.budget import Budget
from gelora_cli.core.registries import ALLOCATORS
from gelora_cli.models.operations import UpdateWork

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

Inputs = dict[str, "torch.Tensor"]
Settings = TypeVar("Settings", bound=MethodConfig)
Settings_co = TypeVar("Settings_co", bound=MethodConfig, covariant=True)


class Method(ABC, Generic[Settings]):
    """A way to fine-tune a model. One object per method, registered in `core.registries.METHODS`.

    A method says what the update of a model is. Which rank goes where is an allocator's business: a method whose ranks
    are planned from a measured signal names its `allocator`.

    Attributes:
        name: what a user writes behind `method=`; `configs/method/NAME.yaml` holds its settings.
        description: what a model card says that the adapter is.
        allocator: the name of the allocator that gives its ranks; empty for a method that plans by itself.
        config_class: the class of its settings, whose keys a user writes behind `method.`: `Settings`.
        exempt: whether no budget binds it.
        unmergeable: why its adapter can't be merged into the base model; empty where it can.
        dtypes: the values of `model.dtype` with which it works: all, unless it reads or trains the model's own weights.
        has_own_sizes: whether its published adapters have sizes that no budget of ours gives.
        position: where in a block its modules stand, as a picture says it; empty where they update the block's linears.
        color: its colour in pictures, in matplotlib's words; empty for one that follows from its place in the registry.
        marker: its marker in pictures; empty for one that follows from its place in the registry.
    """

    name: str
    description: str
    allocator: ClassVar[str] = ""
    config_class: ClassVar[type[MethodConfig]] = MethodConfig
    exempt: ClassVar[bool] = False
    unmergeable: ClassVar[str] = ""
    dtypes: ClassVar[tuple[str, ...]] = ("float32",)
    has_own_sizes: ClassVar[bool] = False
    position: ClassVar[str] = ""
    color: ClassVar[str] = ""
    marker: ClassVar[str] = ""

    @abstractmethod
    def plan(self, request: PlanRequest[Settings]) -> RankPlan:
        """Return what each block gets under the budget; no torch.

        Raises:
            GeloraError: a budget that the method can't meet, with the smallest that it can.
        """

    @abstractmethod
    def attach(self, context: MethodContext[Settings]) -> AdaptedModel:
        """Put the planned update on a model, ready to train; its outputs are those of the base until the first step.

        Raises:
            GeloraError: what was attached is not what the plan says.
        """

    @abstractmethod
    def rebuild(self, model: nn.Module, saved: SavedAdapter) -> None:
        """Put the modules of an adapter in our own format into a fresh base model; its tensors are filled in later.

        An adapter in PEFT's format is loaded by PEFT, without this.
        """

    def merge(self, model: nn.Module) -> None:
        """Fold the modules that `rebuild` put in into the weights of their linears; nothing to do where it put none."""

    def work(self, plan: RankPlan, model_map: ModelMap, settings: Settings) -> UpdateWork:
        """Return what trains, and what that adds to the products of a step, for the count of operations.

        Unless a method says otherwise, it puts two matrices of the planned rank beside every planned linear. Ranks that
        are masked while they train still take part in every product, so the plan's count.
        """
        return UpdateWork(plan.rank_pattern)

    def signals(self, budget: Budget) -> tuple[str, ...]:
        """Return the names of the signals that a plan can't be made without.

        They are the one that its allocator reads, and with `budget=auto`, whose bound is what GeLoRA's own ranks cost,
        the idim profile.
        """
        # Without duplicates: under `auto` GeLoRA's own allocator reads the profile anyway.
        names = [ALLOCATORS.get(self.allocator).signal] if self.allocator else []
        if budget.kind == "auto" and not self.exempt:
            names.append(IDIM)
        return tuple(name for name in dict.fromkeys(names) if name)

    @property
    def is_built_in(self) -> bool:
        """Return whether it is one of gelora's own, not a plug-in's."""
        return type(self).__module__.startswith("gelora_cli.")

    def needs_profile(self, budget: Budget) -> bool:
        """Return whether a plan can't be made without a measured idim profile."""
        return IDIM in self.signals(budget)

    def depends_on_modules(self, budget: Budget) -> bool:
        """Return whether `method.modules` can change a number of a run under this budget."""
        return not self.exempt


@dataclass(frozen=True)
class MethodContext(Generic[Settings_co]):
    """What a method may need to attach itself.

    `settings` are the method's; `seed` draws its new parameters; training takes `total_steps` optimizer steps.
    With `keep_start` a method that moves the model's own weights keeps a copy of them, so that it can say how far.
    `batches(n)` are the model's inputs of one epoch in training's batches, or larger ones of about n tokens.
    `gradients(names, n)` are the gradients of the mean loss over the first n rows that training sees, (out, in) for the
    weight of each named linear, the same in every process; all of them must call it. `once(f)` is `f()`, called by the
    main process alone and given to all of them.
    """

    model: PreTrainedModel
    model_map: ModelMap
    plan: RankPlan
    settings: Settings_co
    seed: int
    total_steps: int = 1
    keep_start: bool = False
    batches: Callable[[int], SizedInputs] = lambda tokens: ()
    gradients: Callable[[Sequence[str], int], dict[str, torch.Tensor]] = lambda names, examples: {}
    once: Callable[[Callable[[], Any]], Any] = lambda compute: compute()


@dataclass(frozen=True)
class AdaptedModel:
    """A model ready to train, and the plan as it was attached.

    `save(directory)` writes what is needed to load the adapter again. `extra_loss()` is added to the loss of every
    step; `after_step(step)` runs after every optimizer step, counted from 1, while gradients are there. Right after it
    `restarted(step)` are the parameters that have just been replaced, of which the optimizer forgets the moments. A
    method whose ranks move while it trains has `current_ranks()`: every module's rank as it is now and the parameters
    that those cost. Its weights may be selected only once `budget_reached()`: from then on they keep within the budget.
    `state()` is what a checkpoint needs of the method beside parameters and optimizer, and `load_state` restores it.
    `updates()` is how far every adapted linear's weight has moved, (out, in) by name, of a method that moves any.
    `attach_operations` is what measuring took that the method does itself before training, in floating-point
    operations.

    Before training, gradients are probed. `probe_values()` are what parameters hold meanwhile, by name. Without it
    those that are zero get small random values. A method that trains parameters of the model itself and `adds_tensors`
    none may have gradients that are exactly zero.
    """

    model: nn.Module
    plan: RankPlan
    save: Callable[[Path], None]
    extra_loss: Callable[[], torch.Tensor] | None = None
    after_step: Callable[[int], None] | None = None
    restarted: Callable[[int], Collection[nn.Parameter]] | None = None
    current_ranks: Callable[[], tuple[dict[str, int], int]] | None = None
    budget_reached: Callable[[], bool] = lambda: True
    state: Callable[[], dict[str, torch.Tensor]] | None = None
    load_state: Callable[[dict[str, torch.Tensor]], None] | None = None
    updates: Callable[[], dict[str, torch.Tensor]] | None = None
    attach_operations: int = 0
    probe_values: Callable[[], dict[str, torch.Tensor]] | None = None
    adds_tensors: bool = True

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the trainable parameters by name."""
        return trainable(self.model)

    def values_while_probed(self) -> dict[str, torch.Tensor]:
        """Return what parameters hold while gradients are probed, by name."""
        from gelora_cli.methods.updates.probe_values import small_values

        return small_values(self.trainable()) if self.probe_values is None else self.probe_values()

    def ranks(self) -> tuple[dict[str, int], int]:
        """Return every planned module's rank as it is now, and the adapter's parameters that are not masked."""
        if self.current_ranks is not None:
            return self.current_ranks()
        return self.plan.rank_pattern, self.plan.adapter_params


class SizedInputs(Protocol):
    """Inputs of so many batches, one after the other."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Inputs]: ...


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable parameters by name."""
    return {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}


def strip_prefix(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
