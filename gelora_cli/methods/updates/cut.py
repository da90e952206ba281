"""Cut: LoRA of one wide rank, of which the largest singular values over all modules are kept.

Letters: R the wide rank, k the directions that a module keeps.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn

from gelora_cli.allocation.planning import as_written
from gelora_cli.core.devices import seeded
from gelora_cli.core.logs import LOGGER
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.updates.checks import ADAPTER
from gelora_cli.methods.updates.lora import attach_lora, layers_of, updates_of
from gelora_cli.methods.updates.narrowed import save_narrowed

if TYPE_CHECKING:
    from gelora_cli.methods.cut import CutSettings

ROUNDING = 2.0**-20
"""Singular values below this share of the largest are rounding in float32, not directions that were learned [ours]."""


@dataclass(frozen=True)
class Spectrum:
    """The singular value decomposition of `B A` of a module, in float64 on the CPU.

    `left` (out, R), `values` (R,) in descending order, `right` (R, in).
    """

    left: torch.Tensor
    values: torch.Tensor
    right: torch.Tensor

    def factors(self, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the balanced factors of its largest part: `A = sqrt(S) V^T` (k, in) and `B = U sqrt(S)` (out, k)."""
        roots = self.values[:rank].sqrt()
        return roots[:, None] * self.right[:rank], self.left[:, :rank] * roots


def decompose(a: torch.Tensor, b: torch.Tensor) -> Spectrum:
    """Return the singular value decomposition of `B A`, without forming the product (out, in).

    With `B = Q_b R_b` and `A^T = Q_a R_a` it is that of the small `R_b R_a^T`, (R, R), as PARA has it (summaries of
    arXiv 2604.27796).
    """
    left, left_core = torch.linalg.qr(b.detach().cpu().double())  # (out, R), (R, R)
    right, right_core = torch.linalg.qr(a.detach().cpu().double().T)  # (in, R), (R, R)
    u, values, vh = torch.linalg.svd(left_core @ right_core.T)
    return Spectrum(left @ u, values, vh @ right.T)


def keep_largest(values: Mapping[str, torch.Tensor], costs: Mapping[str, int], bound: int) -> dict[str, int]:
    """Return how many singular values each module keeps under one threshold for all of them.

    The values of all modules are sorted together, and kept from the largest on until the next one no longer fits the
    budget. Equal values keep the order of the modules. Values that are nothing but rounding are never kept.

    Args:
        values: the singular values of each module, (R,) in descending order.
        costs: the parameters of a direction of each module.
        bound: the budget in parameters.
    """
    pooled = torch.cat(list(values.values()))  # of all modules
    prices = torch.cat([torch.full_like(of_module, costs[name]) for name, of_module in values.items()])
    order = torch.sort(pooled, descending=True, stable=True).indices
    fits = torch.empty_like(pooled, dtype=torch.bool)
    fits[order] = torch.cumsum(prices[order], 0) <= bound
    fits &= pooled > ROUNDING * pooled.max()
    parts = torch.split(fits, [len(of_module) for of_module in values.values()])
    return {name: int(part.sum()) for name, part in zip(values, parts, strict=True)}


def attach_cut(context: MethodContext[CutSettings]) -> AdaptedModel:
    """Add LoRA of the plan's wide rank to every planned linear, to be cut to the budget while it trains.

    After `ceil(cut_at * total_steps)` optimizer steps the singular values of `scaling * B A` of all modules are pooled,
    and the largest are kept within the budget. What follows is `then`:

    - `continue`: A and B become the balanced factors of what is kept. The update is the wide one, truncated.
    - `restart`: A is drawn again from the seed and B is zero, with the ranks that were found. The head goes on.

    Either way the optimizer forgets the moments of A and B, since they belong to other directions; the schedule of the
    learning rate goes on [ours].

    The tensors stay as wide as they were. Rows of A and columns of B beyond a module's rank are zero. They stay zero by
    themselves: the gradient of either is a product with the other, and moments that were forgotten add nothing.

    Raises:
        GeloraError: PEFT did not do what the plan says.
    """
    attached = attach_lora(context)
    assert isinstance(attached.model, PeftModel)
    return _Cut(context, attached.model).attached()


class _Cut:
    """The wide layers, and the rank of each once they are cut."""

    def __init__(self, context: MethodContext[CutSettings], model: PeftModel) -> None:
        self.context, self.model = context, model
        layers = layers_of(model, LoraLayer)
        self.layers: dict[str, Any] = {name: layers[name] for name in context.plan.rank_pattern}  # in the plan's order
        self.costs = {name: layer.in_features + layer.out_features for name, layer in self.layers.items()}
        self.cut_step = math.ceil(as_written(context.settings.cut_at) * context.total_steps)
        self.kept: dict[str, int] = {}

    def attached(self) -> AdaptedModel:
        return AdaptedModel(
            self.model,
            self.context.plan,
            save=lambda directory: save_narrowed(self.model, directory, self.context.plan, self.ranks()[0]),
            after_step=self.after_step,
            restarted=self.restarted,
            current_ranks=self.ranks,
            budget_reached=lambda: bool(self.kept),
            state=lambda: {name: torch.tensor([rank]) for name, rank in self.kept.items()},
            load_state=self.load_state,
            updates=lambda: updates_of(self.model),
        )

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Restore the ranks of a training that was cut before it was interrupted."""
        # In the order of the plan, which a checkpoint does not keep.
        self.kept = {name: int(state[name][0]) for name in self.layers if name in state}

    def ranks(self) -> tuple[dict[str, int], int]:
        """Return each module's rank as it is now, and what these ranks cost."""
        ranks = self.kept or self.context.plan.rank_pattern
        return ranks, sum(rank * self.costs[name] for name, rank in ranks.items())

    def after_step(self, step: int) -> None:
        """Cut the update to the budget after the step for it."""
        if step == self.cut_step:
            # Computed once, so that processes with other rounding don't drift apart.
            self.kept, factors = self.context.once(self._cut)
            self._write(factors)

    def restarted(self, step: int) -> Collection[nn.Parameter]:
        """Return A and B of all modules after the cut: they are in other directions than the optimizer's moments."""
        if step != self.cut_step:
            return ()
        return [tensor for layer in self.layers.values() for tensor in _tensors(layer)]

    def _cut(self) -> tuple[dict[str, int], dict[str, tuple[torch.Tensor, torch.Tensor]]]:
        """Return every module's rank, and its new A (k, in) and B (out, k) on the CPU."""
        plan = self.context.plan
        spectra = {name: decompose(*_tensors(layer)) for name, layer in self.layers.items()}
        values = {name: plan.scaling * spectrum.values for name, spectrum in spectra.items()}  # of scaling * B A
        kept = keep_largest(values, self.costs, plan.budget_params or 0)
        self._log(values, kept)
        if self.context.settings.then == "restart":
            return kept, self._drawn(kept)
        return kept, {name: spectra[name].factors(rank) for name, rank in kept.items()}

    def _drawn(self, ranks: Mapping[str, int]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return A by Kaiming's rule from the seed, as PEFT draws it, and B of zeros."""
        factors = {}
        with seeded(self.context.seed):
            for name, rank in ranks.items():
                layer = self.layers[name]
                a = torch.empty(rank, layer.in_features)
                if rank:
                    nn.init.kaiming_uniform_(a, a=math.sqrt(5))
                factors[name] = a, torch.zeros(layer.out_features, rank)
        return factors

    @torch.no_grad()
    def _write(self, factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Put new factors into the first rows of A and columns of B, and zeros into the others."""
        for name, (new_a, new_b) in factors.items():
            a, b = _tensors(self.layers[name])
            a.zero_()
            b.zero_()
            a[: len(new_a)] = new_a.to(a)
            b[:, : new_b.shape[1]] = new_b.to(b)

    def _log(self, values: Mapping[str, torch.Tensor], kept: Mapping[str, int]) -> None:
        """Say what was kept, and how much of the update that is."""
        squares = {name: of_module.square() for name, of_module in values.items()}
        total = sum(float(of_module.sum()) for of_module in squares.values())
        inside = sum(float(squares[name][:rank].sum()) for name, rank in kept.items())
        LOGGER.info(
            "cut at step %d of %d: %d of %d singular values kept, %.1f %% of the update's squared norm; "
            "ranks %d to %d, %d of %d modules without any",
            self.cut_step,
            self.context.total_steps,
            sum(kept.values()),
            sum(map(len, values.values())),
            100 * inside / total if total else 0.0,
            min(kept.values()),
            max(kept.values()),
            sum(rank == 0 for rank in kept.values()),
            len(kept),
        )


def _tensors(layer: Any) -> tuple[nn.Parameter, nn.Parameter]:
    """Return A (R, in) and B (out, R) of a layer."""
    return layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
