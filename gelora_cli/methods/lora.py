"""LoRA with planned ranks: GeLoRA (arXiv 2412.09250), its controls, and ranks from other signals.

Methods with keys of their own that choose ranks have files of their own: `gora`, `eva_ranks`, `activations`, `depth`
and `file`.
"""

from __future__ import annotations

from typing import ClassVar

from gelora_cli.allocation.planning import PlanRequest
from gelora_cli.config.schema import LowRankConfig, PlannedLoraConfig
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.registries import METHODS, VARIANTS
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.peft_format import PeftMethod
from gelora_cli.models.operations import UpdateWork


class PlannedLora(PeftMethod[PlannedLoraConfig]):
    """LoRA in every planned linear, with the ranks that its allocator gives; a subclass names the allocator."""

    allocator: ClassVar[str]
    config_class: ClassVar[type[LowRankConfig]] = PlannedLoraConfig
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "bf16", "4bit")
    description = (
        "A LoRA adapter with one rank per transformer block (method: *GeLoRA: Geometric Adaptive Ranks For Efficient\n"
        "LoRA Fine-tuning*, arXiv 2412.09250, or a control of it)"
    )

    def plan(self, request: PlanRequest[PlannedLoraConfig]) -> RankPlan:
        """Return the allocator's ranks under the budget."""
        return request.planned_ranks(self.name)

    def attach(self, context: MethodContext[PlannedLoraConfig]) -> AdaptedModel:
        """Put the plan's variant of LoRA on every planned linear, with the planned ranks."""
        return VARIANTS.get(context.plan.variant).attach(context)

    def work(self, plan: RankPlan, model_map: ModelMap, settings: PlannedLoraConfig) -> UpdateWork:
        """Return that A and B train, and what the variant computes beside them."""
        variant, ranks, operations = VARIANTS.get(plan.variant), plan.rank_pattern, {}
        for block in model_map.blocks:
            for linear in block.linears:
                if rank := ranks.get(linear.name, 0):
                    operations[linear.name] = variant.call_operations(linear, rank)
        return UpdateWork(ranks, from_start=variant.from_start, call_operations=operations)


@METHODS.register
class GeLora(PlannedLora):
    """Ranks by the growth of the intrinsic dimension across each block."""

    name = "gelora"
    allocator = "growth"


@METHODS.register
class Lora(PlannedLora):
    """The same rank in every block, under the same budget."""

    name = "lora"
    allocator = "uniform"


@METHODS.register
class ShuffledLora(PlannedLora):
    """A control: GeLoRA's ranks on other blocks."""

    name = "shuffled"
    allocator = "shuffled"


@METHODS.register
class RandomLora(PlannedLora):
    """A control: GeLoRA's units of rank on drawn blocks."""

    name = "random"
    allocator = "random"


@METHODS.register
class ReversedLora(PlannedLora):
    """A control: GeLoRA's ranks from the last block to the first."""

    name = "reversed"
    allocator = "reversed"


@METHODS.register
class FisherLora(PlannedLora):
    """Ranks by the empirical Fisher information of each linear."""

    name = "fisher"
    description = "A LoRA adapter with ranks by the empirical Fisher information (proposed in huggingface/peft#3204)"
    allocator = "fisher"


@METHODS.register
class GradRankLora(PlannedLora):
    """Ranks by the effective rank of each linear's gradient."""

    name = "gradrank"
    description = "A LoRA adapter with ranks by the effective rank of the gradient (measured as by RaLoRA, ICLR 2026)"
    allocator = "gradrank"


@METHODS.register
class SensitivityLora(PlannedLora):
    """Ranks by the squared weight times the Fisher information of each linear."""

    name = "sensitivity"
    description = (
        "A LoRA adapter with ranks by the loss's sensitivity to weights (after Sensitivity-LoRA, arXiv 2509.09119)"
    )
    allocator = "sensitivity"


@METHODS.register
class WeightsLora(PlannedLora):
    """Ranks by the effective rank of the pretrained weights, without data."""

    name = "weights"
    description = "A LoRA adapter with ranks by the effective rank of the pretrained weights"
    allocator = "weights"
