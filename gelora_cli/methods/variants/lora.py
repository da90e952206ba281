"""The update of LoRA itself (Hu et al., arXiv 2106.09685)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gelora_cli.core.registries import VARIANTS
from gelora_cli.methods.variants.base import Variant

if TYPE_CHECKING:
    from gelora_cli.config.schema import PlannedLoraConfig
    from gelora_cli.methods.base import AdaptedModel, MethodContext


@VARIANTS.register
class Lora(Variant):
    """`W + scaling * B A` with B = 0 at the start."""

    name = "lora"
    description = "LoRA's own update (arXiv 2106.09685)"
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "bf16", "4bit")

    def attach(self, context: MethodContext[PlannedLoraConfig]) -> AdaptedModel:
        """Add LoRA of the planned ranks (see `updates.lora`)."""
        from gelora_cli.methods.updates.lora import attach_lora

        return attach_lora(context)
