"""LoRA-GA, low-rank adaptation with gradient approximation (Wang, Yu and Li, arXiv 2407.05000)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.core.registries import VARIANTS
from gelora_cli.methods.variants.base import Variant

if TYPE_CHECKING:
    from gelora_cli.config.schema import PlannedLoraConfig
    from gelora_cli.methods.base import AdaptedModel, MethodContext


@VARIANTS.register
class LoraGa(Variant):
    """`W + scaling * (B A - B0 A0)`, where A0 and B0 are singular vectors of the gradient of W."""

    name = "lora_ga"
    description = "LoRA that starts from the singular vectors of each gradient (LoRA-GA, arXiv 2407.05000)"
    rank_factor = 2
    from_start = True
    own_start = "from the singular vectors of each gradient"

    def attach(self, context: MethodContext[PlannedLoraConfig]) -> AdaptedModel:
        """Measure gradients, then add LoRA that starts from their singular vectors (see `updates.lora_ga`)."""
        from gelora_cli.methods.updates.lora_ga import attach_lora_ga

        return attach_lora_ga(context)
