"""SoRA, sparse low-rank adaptation (Ding et al., EMNLP 2023, arXiv 2311.11696): gates that a soft threshold closes.

B examples, T tokens, r gates of a linear.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gelora_cli.allocation.planning import as_written
from gelora_cli.core.artifacts.adapter import SavedAdapter
from gelora_cli.core.devices import seeded
from gelora_cli.core.logs import LOGGER
from gelora_cli.methods.base import AdaptedModel, MethodContext, trainable
from gelora_cli.methods.updates.checks import count_problems, freeze_except, raise_on_mismatch
from gelora_cli.methods.updates.saved import replace_module, save_own
from gelora_cli.models.block_map import norm_names

if TYPE_CHECKING:
    from gelora_cli.methods.sora import SoraSettings


class GatedLoraLinear(nn.Module):
    """A linear and a gated update: `base(x) + scaling * B diag(g) A x`.

    A (r, in) from Kaiming's rule, B (out, r) zero, g (r,) from N(0, 1).
    """

    def __init__(self, base: nn.Linear, rank: int, scaling: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.base, self.scaling, self.dropout = base, scaling, nn.Dropout(dropout)
        dtype, device = torch.float32, base.weight.device
        # Drawn on the CPU, so that a seed gives the same values on every device.
        gate, rows = torch.randn(rank, dtype=dtype), torch.empty(rank, base.in_features, dtype=dtype)
        nn.init.kaiming_uniform_(rows, a=math.sqrt(5))
        self.sora_A = nn.Parameter(rows.to(device))
        self.sora_B = nn.Parameter(torch.zeros(base.out_features, rank, dtype=dtype, device=device))
        self.gate = nn.Parameter(gate.to(device))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, T, in)
        """Return the linear's output plus the gated update."""
        gated = nn.functional.linear(self.dropout(x), self.sora_A) * self.gate  # (B, T, r)
        updated: torch.Tensor = self.base(x) + nn.functional.linear(gated, self.sora_B) * self.scaling  # (B, T, out)
        return updated

    def update(self) -> torch.Tensor:
        """Return what is added to the linear's weight: `scaling * B diag(g) A`, (out, in)."""
        update: torch.Tensor = self.scaling * (self.sora_B * self.gate) @ self.sora_A  # (out, in)
        return update


def soft_threshold(gate: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return `sign(g) max(|g| - threshold, 0)`, the paper's rule."""
    return gate.sign() * (gate.abs() - threshold).clamp(min=0)


def code_threshold(gate: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return the gates as the published code leaves them: it zeroes whatever was below `2 * threshold`.

    It moves gates beyond the threshold towards zero by the threshold, and then zeroes all that are below it.
    """
    moved = torch.where(gate.abs() > threshold, gate - gate.sign() * threshold, gate)
    return torch.where(moved.abs() < threshold, 0.0, moved)


SHRINK = {"paper": soft_threshold, "code": code_threshold}
"""`method.threshold_rule` -> what happens to the gates after each optimizer step."""


def attach_sora(context: MethodContext[SoraSettings]) -> AdaptedModel:
    """Put gated updates of the planned rank on every planned linear, to be sparsified while they train.

    After each optimizer step every gate moves towards zero by the threshold: `g <- sign(g) max(|g| - xi, 0)` with
    `xi = threshold_total / total_steps` (equation 7 of the paper, xi constant as in its code without schedule). The
    published code differs from the paper in two ways, and both are settings: `threshold_rule=code` also zeroes what
    was below `2 xi`, and `gate_penalty` adds `gate_penalty * mean |g|` over all gates to the loss (10 in its script).
    Ours: after `prune_at` of the steps the gates with the smallest `|g|` are closed for good so far as the budget
    needs it.

    Raises:
        GeloraError: another number of parameters than planned.
    """
    model, plan, settings = context.model, context.plan, context.settings
    norms = norm_names(model, context.model_map.head_modules) if settings.layer_norms else []
    freeze_except(model, context.model_map.head_modules, also=norms)
    with seeded(context.seed):
        layers = _gate(model, plan.rank_pattern, plan.scaling, settings.dropout)
    raise_on_mismatch(count_problems(model, plan, context.model_map))
    return _Gates(context, layers).attached()


def _gate(model: nn.Module, ranks: Mapping[str, int], scaling: float, dropout: float = 0.0) -> dict[str, Any]:
    """Put a gated update of its rank on each named linear."""
    layers = {}
    for name, rank in ranks.items():
        base: Any = model.get_submodule(name)
        layers[name] = GatedLoraLinear(base, rank, scaling, dropout)
        replace_module(model, name, layers[name])
    return layers


class _Gates:
    """The gates of all layers as they close."""

    def __init__(self, context: MethodContext[SoraSettings], layers: dict[str, Any]) -> None:
        self.context, self.layers, settings = context, layers, context.settings
        self.threshold = settings.threshold_total / context.total_steps
        self.shrink = SHRINK[settings.threshold_rule]
        self.penalty = settings.gate_penalty
        self.prune_step = math.ceil(as_written(settings.prune_at) * context.total_steps)
        self.norm_params = context.model_map.norm_params if settings.layer_norms else 0
        self.open: dict[str, torch.Tensor] = {}

    def attached(self) -> AdaptedModel:
        return AdaptedModel(
            self.context.model,
            self.context.plan,
            save=self.save,
            extra_loss=self.extra_loss if self.penalty else None,
            after_step=self.after_step,
            current_ranks=self.ranks,
            budget_reached=lambda: bool(self.open),
            state=lambda: self.open,
            load_state=self.load_state,
            updates=self.updates,
        )

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Restore which gates may be open."""
        self.open = {name: mask.to(self.layers[name].gate.device) for name, mask in state.items()}

    def extra_loss(self) -> torch.Tensor:
        """Return `gate_penalty * mean |g|` over the gates of all layers."""
        return self.penalty * torch.cat([layer.gate for layer in self.layers.values()]).abs().mean()

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Shrink every gate by the threshold; from `prune_step` on, keep within the budget as well."""
        for layer in self.layers.values():
            layer.gate.copy_(self.shrink(layer.gate, self.threshold))
        if step == self.prune_step:
            self._prune()
        for name, mask in self.open.items():
            self.layers[name].gate.mul_(mask)

    def _prune(self) -> None:
        """Let the largest gates that fit the budget be open from now on; `|g|` decides, then the order of the plan."""
        before = sum(rank for rank in self.ranks()[0].values())
        # One entry per gate of all layers, in the order of the plan: (gates,).
        sizes = torch.cat([layer.gate.abs() for layer in self.layers.values()])
        costs = torch.cat([torch.full_like(layer.gate, self._cost(layer)) for layer in self.layers.values()]).double()
        order = torch.sort(sizes, descending=True, stable=True).indices  # stable: equal gates keep the plan's order
        bound = (self.context.plan.budget_params or 0) - self.norm_params
        fits = torch.empty_like(costs, dtype=torch.bool)
        fits[order] = torch.cumsum(costs[order], 0) <= bound
        masks = torch.split(fits.to(sizes.dtype), [len(layer.gate) for layer in self.layers.values()])
        self.open = dict(zip(self.layers, masks, strict=True))
        for name, mask in self.open.items():
            self.layers[name].gate.mul_(mask)
        after = sum(rank for rank in self.ranks()[0].values())
        LOGGER.info("SoRA: %d gates were open at step %d, %d are left by the budget", before, self.prune_step, after)

    def ranks(self) -> tuple[dict[str, int], int]:
        """Return the number of open gates of each module, and the parameters that they cost."""
        counts = torch.stack([(layer.gate != 0).sum() for layer in self.layers.values()]).tolist()  # one wait for all
        ranks: dict[str, int] = dict(zip(self.layers, counts, strict=True))
        return ranks, self.norm_params + sum(rank * self._cost(self.layers[name]) for name, rank in ranks.items())

    @torch.no_grad()
    def updates(self) -> dict[str, torch.Tensor]:
        """Return what every layer adds to its linear's weight, (out, in) each."""
        return {name: layer.update() for name, layer in self.layers.items()}

    def save(self, directory: Path) -> None:
        """Write the open gates with their rows and columns; a linear without open gates is left out."""
        plan, model = self.context.plan, self.context.model
        tensors: dict[str, torch.Tensor] = dict(trainable(model))
        sizes = {name: rank for name, rank in self.ranks()[0].items() if rank}
        for name, layer in self.layers.items():
            is_open = layer.gate.detach() != 0  # (r,)
            pruned = {"sora_A": layer.sora_A[is_open], "sora_B": layer.sora_B[:, is_open], "gate": layer.gate[is_open]}
            for part, tensor in pruned.items():
                del tensors[f"{name}.{part}"]
                tensors |= {f"{name}.{part}": tensor} if name in sizes else {}
        save_own(directory, "sora", model.config.model_type, tensors, sizes, plan.scaling)

    @staticmethod
    def _cost(layer: Any) -> int:
        return int(layer.base.in_features + layer.base.out_features + 1)


def rebuild_sora(model: nn.Module, saved: SavedAdapter) -> None:
    """Put a gated update on every linear that has open gates."""
    _gate(model, saved.sizes, saved.scaling)


@torch.no_grad()
def fold_gates(model: nn.Module) -> None:
    """Fold the gated updates into the weights of their linears."""
    for name, module in list(model.named_modules()):
        if isinstance(module, GatedLoraLinear):
            module.base.weight += module.update()
            replace_module(model, name, module.base)
