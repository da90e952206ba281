"""Bottleneck adapters: small modules behind the attention's and the feed-forward's output projections.

B examples, T tokens, d the width of the hidden states, m the bottleneck.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from gelora_cli.config.schema import MethodConfig
from gelora_cli.core.devices import seeded
from gelora_cli.methods.base import AdaptedModel, MethodContext, trainable
from gelora_cli.methods.updates.checks import count_problems, freeze_except, raise_on_mismatch
from gelora_cli.methods.updates.probe_values import small_values
from gelora_cli.methods.updates.saved import replace_module, save_own

ACTIVE = 100.0
"""A bias far above what `down` gives at its start, for the gradient probe."""


class BottleneckLinear(nn.Module):
    """A linear and an adapter on what it gives: `h + up(activation(down(h)))` with `h = base(x)`.

    `up` starts at zero, so that nothing changes before the first step. The adapter stands before the block's dropout,
    residual connection and norm.
    """

    def __init__(self, base: nn.Linear, size: int, activation: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.base, self.activation = base, activation
        # Drawn on the CPU, so that a seed gives the same values on every device.
        self.down = nn.Linear(base.out_features, size)
        self.up = nn.Linear(size, base.out_features)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.down.to(base.weight.device)
        self.up.to(base.weight.device)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, T, in)
        """Return the linear's output with the adapter applied."""
        hidden = self.base(x)  # (B, T, d)
        adapted: torch.Tensor = hidden + self.up(self.activation(self.down(hidden)))  # m in between
        return adapted


def attach_bottlenecks(context: MethodContext[MethodConfig], activation: str) -> AdaptedModel:
    """Put an adapter of the planned size behind every planned linear (Houlsby et al., 2019; Pfeiffer et al., 2021).

    `activation` names a function of `torch.nn.functional`; no norm trains. New parameters come from the seed.

    Raises:
        GeloraError: another number of parameters than planned.
    """
    model, plan = context.model, context.plan
    freeze_except(model, context.model_map.head_modules)
    with seeded(context.seed):
        add_bottlenecks(model, activation, plan.rank_pattern)
    raise_on_mismatch(count_problems(model, plan, context.model_map))
    about = (plan.method, model.config.model_type)
    return AdaptedModel(
        model,
        plan,
        save=lambda directory: save_own(directory, *about, trainable(model), plan.rank_pattern, plan.scaling),
        probe_values=lambda: _open_values(model, plan.rank_pattern),
    )


def _open_values(model: nn.Module, sizes: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Return small values for `up`, and for the bias of `down` large ones, under which every unit is active.

    A unit of a rectifier that no token of a few texts activates has no gradient there, which is no fault.
    """
    parameters = trainable(model)
    biases = [f"{name}.down.bias" for name in sizes]
    return small_values(parameters) | {name: torch.full_like(parameters[name], ACTIVE) for name in biases}


def add_bottlenecks(model: nn.Module, activation: str, sizes: Mapping[str, int]) -> None:
    """Put an adapter behind every linear that has a size."""
    function: Callable[[torch.Tensor], torch.Tensor] = getattr(nn.functional, activation)
    for name, size in sizes.items():
        base: Any = model.get_submodule(name)
        replace_module(model, name, BottleneckLinear(base, size, function))
