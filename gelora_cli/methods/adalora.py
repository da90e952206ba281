"""AdaLoRA (Zhang et al., ICLR 2023, arXiv 2303.10512): from one rank everywhere to the best triplets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from gelora_cli.allocation.planning import PlanRequest, as_written
from gelora_cli.config.keys import key
from gelora_cli.config.schema import LowRankConfig
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.low_rank import start_ratio
from gelora_cli.methods.peft_format import PeftMethod
from gelora_cli.models.operations import UpdateWork


@dataclass
class AdaLoraSettings(LowRankConfig):
    """When triplets are pruned, and how strongly A and B are held orthogonal."""

    start_ratio: float = start_ratio(1.5)
    tinit: float = key(0.12, help="share of the optimizer steps before ranks are pruned", low=0, high=1)
    tfinal: float = key(0.5, help="share of the optimizer steps after ranks were pruned", low=0, high=1)
    delta_t: float = key(0.0015, help="share of the optimizer steps between two allocations", above=0, high=1)
    orthogonality: float = key(0.1, help="weight of the regularisation", low=0)

    def problems(self) -> Iterator[str]:
        """Yield that no step is left in which ranks are pruned."""
        if self.tinit + self.tfinal >= 1:
            yield (
                f"method.tinit={self.tinit} and method.tfinal={self.tfinal} leave no step in which ranks are pruned: "
                "they are shares of the optimizer steps, and their sum must be below 1"
            )


@METHODS.register
class AdaLora(PeftMethod[AdaLoraSettings]):
    """LoRA in the form of singular values, pruned to the budget while it trains."""

    name = "adalora"
    description = "A LoRA adapter in the form of singular values (AdaLoRA, arXiv 2303.10512)"
    config_class = AdaLoraSettings
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "bf16", "4bit")

    def plan(self, request: PlanRequest[AdaLoraSettings]) -> RankPlan:
        """Start at `start_ratio` times the budget; a triplet (a row of A, a number, a column of B) is a unit."""
        shapes = request.shapes()
        costs = shapes.triplet_costs
        shapes.check_bound(max(costs), "one triplet")
        alike = len(set(costs)) == 1
        # Triplets of one cost fill the budget up to less than one of them, which is then known beforehand.
        target = shapes.bound // costs[0] * costs[0] if alike else shapes.bound
        rank = shapes.within_sides(math.ceil(as_written(request.settings.start_ratio) * target / sum(costs)))
        peak = rank * sum(costs)
        left = min(target, peak)
        pruned = f"{left // costs[0]} triplets" if alike else "the best triplets that fit"
        note = f"AdaLoRA starts from rank {rank} everywhere and prunes to {pruned}."
        return shapes.uniform_plan(rank, unit="triplet", adapter_params=left, trained_params=peak, note=note)

    def attach(self, context: MethodContext[AdaLoraSettings]) -> AdaptedModel:
        """Put triplets on every planned linear (see `updates.adalora`)."""
        from gelora_cli.methods.updates.adalora import attach_adalora

        return attach_adalora(context)

    def work(self, plan: RankPlan, model_map: ModelMap, settings: AdaLoraSettings) -> UpdateWork:
        """Return that A and B train, and that each step computes `A A^T` and `B^T B`, which hold them orthogonal.

        These cost `2 r^2 (in + out)` forward and, since both factors train, twice as much on the way back.
        """
        ranks, operations = plan.rank_pattern, 0
        for block in model_map.blocks:
            for linear in block.linears:
                operations += 6 * ranks.get(linear.name, 0) ** 2 * linear.unit_params
        return UpdateWork(ranks, step_operations=operations)
