"""Full fine-tuning: every parameter trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.allocation.planning import PlanRequest, exempt_plan
from gelora_cli.config.schema import MethodConfig
from gelora_cli.core.artifacts.adapter import SavedAdapter
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.base import AdaptedModel, Method, MethodContext
from gelora_cli.models.operations import UpdateWork

if TYPE_CHECKING:
    from torch import nn


@METHODS.register
class Full(Method[MethodConfig]):
    """Every parameter of the backbone trains; it costs what it costs."""

    name = "full"
    description = "All weights of a fine-tuned model"
    exempt = True

    def plan(self, request: PlanRequest[MethodConfig]) -> RankPlan:
        """Count the backbone."""
        return exempt_plan(request, request.model_map.backbone_params, "every parameter of the backbone")

    def attach(self, context: MethodContext[MethodConfig]) -> AdaptedModel:
        """Let every parameter train."""
        from gelora_cli.methods.updates.subset import attach_full

        return attach_full(context)

    def work(self, plan: RankPlan, model_map: ModelMap, settings: MethodConfig) -> UpdateWork:
        """Return that everything trains, and that nothing is added."""
        return UpdateWork(trains_weights=True, reaches_embeddings=True, replaced_params=plan.adapter_params)

    def rebuild(self, model: nn.Module, saved: SavedAdapter) -> None:
        """Add no module."""
