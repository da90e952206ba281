"""EVA, explained variance adaptation (Paischer et al., arXiv 2410.07170)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gelora_cli.allocation.apportionment import apportion
from gelora_cli.allocation.planning import PlanRequest, with_module_ranks
from gelora_cli.config.keys import key
from gelora_cli.config.schema import LowRankConfig
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.peft_format import PeftMethod


@dataclass
class EvaSettings(LowRankConfig):
    """How far ranks may differ from even ones."""

    rho: float = key(2.0, help="no module gets more than rho times its even share", low=1, high=100)


@METHODS.register
class Eva(PeftMethod[EvaSettings]):
    """LoRA whose A and ranks come from the activations."""

    name = "eva"
    description = "A LoRA adapter with ranks by explained variance of activations (EVA, arXiv 2410.07170)"
    config_class = EvaSettings
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "bf16", "4bit")

    def plan(self, request: PlanRequest[EvaSettings]) -> RankPlan:
        """Plan even ranks; EVA's own come from the activations, when it is attached."""
        shapes = request.shapes()
        linears = shapes.linears
        costs = [linear.unit_params for linear in linears]
        shapes.check_bound(max(costs), "one unit of rank")
        caps = tuple(linear.max_rank for linear in linears)
        ranks = apportion((1,) * len(costs), (0,) * len(costs), caps, costs, shapes.bound)
        rank_of_module = {linear.name: rank for linear, rank in zip(linears, ranks, strict=True)}
        note = "EVA hands out the same units by explained variance, once it has seen activations."
        plan = shapes.uniform_plan(0, unit="rank", adapter_params=0, trained_params=0, note=note)
        return with_module_ranks(plan, shapes.model_map, rank_of_module)

    def attach(self, context: MethodContext[EvaSettings]) -> AdaptedModel:
        """Measure activations, then add LoRA of the ranks that follow (see `updates.eva`)."""
        from gelora_cli.methods.updates.eva import attach_eva

        return attach_eva(context)
