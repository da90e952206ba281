"""PiSSA, principal singular values and singular vectors adaptation (Meng et al., arXiv 2404.02948)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.core.registries import VARIANTS
from gelora_cli.methods.variants.base import Variant

if TYPE_CHECKING:
    from gelora_cli.config.schema import PlannedLoraConfig
    from gelora_cli.methods.base import AdaptedModel, MethodContext


@VARIANTS.register
class Pissa(Variant):
    """`W + scaling * (B A - B0 A0)`, where `scaling * B0 A0` is the principal part of W."""

    name = "pissa"
    description = "LoRA that starts from the principal singular vectors of each weight (PiSSA, arXiv 2404.02948)"
    rank_factor = 2
    from_start = True
    own_start = "from the principal singular vectors of each weight"

    def attach(self, context: MethodContext[PlannedLoraConfig]) -> AdaptedModel:
        """Decompose every planned weight, then add LoRA that starts from its principal part (see `updates.pissa`)."""
        from gelora_cli.methods.updates.pissa import attach_pissa

        return attach_pissa(context)
