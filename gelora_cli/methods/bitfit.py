"""BitFit (Ben Zaken et al., 2022, arXiv 2106.10199): the bias terms train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.allocation.planning import PlanRequest, exempt_plan
from gelora_cli.config.schema import MethodConfig
from gelora_cli.core.artifacts.adapter import SavedAdapter
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.base import AdaptedModel, Method, MethodContext
from gelora_cli.models.operations import UpdateWork

if TYPE_CHECKING:
    from torch import nn


@METHODS.register
class BitFit(Method[MethodConfig]):
    """All bias terms of the backbone train; it costs what it costs."""

    name = "bitfit"
    description = "The bias terms of a fine-tuned model (BitFit, arXiv 2106.10199)"
    exempt = True

    def plan(self, request: PlanRequest[MethodConfig]) -> RankPlan:
        """Count the bias terms."""
        params = request.model_map.bias_params
        if not params:
            kind = request.model_map.kind
            raise GeloraError(f"method=bitfit: this {kind} model has no bias terms. Take another method.")
        return exempt_plan(request, params, "all bias terms of the backbone")

    def attach(self, context: MethodContext[MethodConfig]) -> AdaptedModel:
        """Let the bias terms train, those of the norms too, and the head."""
        from gelora_cli.methods.updates.subset import attach_bitfit

        return attach_bitfit(context)

    def work(self, plan: RankPlan, model_map: ModelMap, settings: MethodConfig) -> UpdateWork:
        """Return that gradients reach the lowest bias: that of the embeddings' norm, or else those of block 1."""
        norms_have_biases = model_map.norm_bias_params > 0  # RMS norms, as those of Qwen2, have none
        return UpdateWork(trains_biases=True, reaches_embeddings=norms_have_biases, replaced_params=plan.adapter_params)

    def rebuild(self, model: nn.Module, saved: SavedAdapter) -> None:
        """Add no module."""
