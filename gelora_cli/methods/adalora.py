"""AdaLoRA (Zhang et al., ICLR 2023, arXiv 2303.10512): from one rank everywhere to the best triplets."""

from __future__ import annotations

import math

from gelora_cli.allocation.planning import PlanRequest, as_written
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.peft_format import PeftMethod


@METHODS.register
class AdaLora(PeftMethod):
    """LoRA in the form of singular values, pruned to the budget while it trains."""

    name = "adalora"
    description = "A LoRA adapter in the form of singular values (AdaLoRA, arXiv 2303.10512)"
    settings = ("scaling", "dropout", "start_ratio", "tinit", "tfinal", "delta_t", "orthogonality")

    def plan(self, request: PlanRequest) -> RankPlan:
        """Start at `start_ratio` times the budget; a triplet (a row of A, a number, a column of B) is a unit."""
        shapes = request.shapes()
        costs = shapes.triplet_costs
        shapes.check_bound(max(costs), "one triplet")
        alike = len(set(costs)) == 1
        target = shapes.bound // costs[0] * costs[0] if alike else shapes.bound
        rank = shapes.within_sides(math.ceil(as_written(request.start_ratio) * target / sum(costs)))
        peak = rank * sum(costs)
        left = min(target, peak)
        pruned = f"{left // costs[0]} triplets" if alike else "the best triplets that fit"
        note = f"AdaLoRA starts from rank {rank} everywhere and prunes to {pruned}."
        return shapes.uniform_plan(rank, unit="triplet", adapter_params=left, trained_params=peak, note=note)

    def attach(self, context: MethodContext) -> AdaptedModel:
        """Put triplets on every planned linear (see `updates.adalora`)."""
        from gelora_cli.methods.updates.adalora import attach_adalora

        return attach_adalora(context)
