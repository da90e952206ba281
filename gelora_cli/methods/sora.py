"""SoRA, sparse low-rank adaptation (Ding et al., EMNLP 2023, arXiv 2311.11696)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gelora_cli.allocation.planning import PlanRequest, as_written
from gelora_cli.config.keys import key
from gelora_cli.config.schema import LowRankConfig
from gelora_cli.core.artifacts.adapter import SavedAdapter
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.base import AdaptedModel, Method, MethodContext
from gelora_cli.methods.low_rank import start_ratio
from gelora_cli.models.operations import UpdateWork

if TYPE_CHECKING:
    from torch import nn


@dataclass
class SoraSettings(LowRankConfig):
    """How gates close.

    The defaults follow the paper. `threshold_rule=code gate_penalty=10` do what the published code does beyond it.
    """

    start_ratio: float = start_ratio(2.0)
    threshold_total: float = key(0.7, help="threshold of the gates, times the optimizer steps", low=0)
    prune_at: float = key(
        0.8,
        help="share of the optimizer steps after which the smallest gates close if the budget is exceeded",
        above=0,
        high=1,
    )
    threshold_rule: str = key(
        "paper",
        help="soft threshold as in the paper, or as in its code, which also zeroes gates below twice the threshold",
        choices=("paper", "code"),
        absent=("paper",),
    )
    gate_penalty: float = key(0.0, help="weight of mean |g| over all gates in the loss", low=0, absent=(0.0,))
    layer_norms: bool = key(False, help="train the layer norms, too, and count them")


@METHODS.register
class Sora(Method[SoraSettings]):
    """LoRA with a gate for each unit of rank, which a soft threshold closes while it trains."""

    name = "sora"
    description = "A LoRA adapter whose gates were closed by a threshold (SoRA, arXiv 2311.11696)"
    config_class = SoraSettings
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "bf16")

    def plan(self, request: PlanRequest[SoraSettings]) -> RankPlan:
        """Take the largest uniform rank within `start_ratio` times the budget; gates close from there.

        A gate with its row of A and its column of B costs `in + out + 1`.
        """
        shapes = request.shapes()
        costs = shapes.triplet_costs
        norms = shapes.model_map.norm_params if request.settings.layer_norms else 0
        ratio = as_written(request.settings.start_ratio)
        # The start needs rank 1 everywhere, and the end one open gate, the dearest if it must be.
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

    def attach(self, context: MethodContext[SoraSettings]) -> AdaptedModel:
        """Put gated updates on every planned linear (see `updates.sora`)."""
        from gelora_cli.methods.updates.sora import attach_sora

        return attach_sora(context)

    def work(self, plan: RankPlan, model_map: ModelMap, settings: SoraSettings) -> UpdateWork:
        """Return that A and B train, and with `layer_norms` the norms down to that of the embeddings."""
        norms = model_map.norm_params if settings.layer_norms else 0
        return UpdateWork(plan.rank_pattern, reaches_embeddings=settings.layer_norms, replaced_params=norms)

    def rebuild(self, model: nn.Module, saved: SavedAdapter) -> None:
        """Put a gated update on every linear that has open gates."""
        from gelora_cli.methods.updates.sora import rebuild_sora

        rebuild_sora(model, saved)

    def merge(self, model: nn.Module) -> None:
        """Fold the gated updates into their linears."""
        from gelora_cli.methods.updates.sora import fold_gates

        fold_gates(model)
