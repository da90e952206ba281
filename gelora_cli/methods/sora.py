"""SoRA, sparse low-rank adaptation (Ding et al., EMNLP 2023, arXiv 2311.11696)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gelora_cli.allocation.planning import PlanRequest, as_written
from gelora_cli.core.artifacts.adapter import SavedAdapter
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.base import AdaptedModel, Method, MethodContext

if TYPE_CHECKING:
    from torch import nn


@METHODS.register
class Sora(Method):
    """LoRA with a gate for each unit of rank, which a soft threshold closes while it trains."""

    name = "sora"
    description = "A LoRA adapter whose gates were closed by a threshold (SoRA, arXiv 2311.11696)"
    settings = (
        *("scaling", "dropout", "start_ratio", "threshold_total", "prune_at", "threshold_rule"),
        *("gate_penalty", "layer_norms"),
    )

    def plan(self, request: PlanRequest) -> RankPlan:
        """Take the largest uniform rank within `start_ratio` times the budget; gates close from there.

        A gate with its row of A and its column of B costs `in + out + 1`.
        """
        shapes = request.shapes()
        costs = shapes.triplet_costs
        norms = shapes.model_map.norm_params if request.layer_norms else 0
        ratio = as_written(request.start_ratio)
        least = max(math.ceil(sum(costs) / ratio), *costs)
        shapes.check_bound(norms + least, "a start from rank 1 everywhere")
        rank = shapes.within_sides(int(ratio * (shapes.bound - norms)) // sum(costs))
        peak = norms + rank * sum(costs)
        note = (
            f"SoRA starts from rank {rank} everywhere; gates close by a threshold, and by size where too many are open."
        )
        note += f" The {norms:,} parameters of the norms train too, and count." if norms else ""
        left = min(shapes.bound, peak)
        return shapes.uniform_plan(rank, unit="gate", adapter_params=left, trained_params=peak, note=note)

    def attach(self, context: MethodContext) -> AdaptedModel:
        """Put gated updates on every planned linear (see `updates.sora`)."""
        from gelora_cli.methods.updates.sora import attach_sora

        return attach_sora(context)

    def rebuild(self, model: nn.Module, saved: SavedAdapter) -> None:
        """Put a gated update on every linear that has open gates."""
        from gelora_cli.methods.updates.sora import rebuild_sora

        rebuild_sora(model, saved)

    def merge(self, model: nn.Module) -> None:
        """Fold the gated updates into their linears."""
        from gelora_cli.methods.updates.sora import fold_gates

        fold_gates(model)
