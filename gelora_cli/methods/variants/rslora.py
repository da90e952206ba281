"""Rank-stabilised scaling (Kalajdzievski, arXiv 2312.03732), measured from the uniform plan."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gelora_cli.core.registries import VARIANTS
from gelora_cli.methods.variants.lora import Lora


@VARIANTS.register
class RsLora(Lora):
    """`W + s_m B A` with `s_m = scaling * sqrt(r_u / r_m)` and B = 0 at the start.

    rsLoRA scales by `alpha / sqrt(r)` where LoRA scales by `alpha / r`, so that what is learned does not fade as the
    rank grows. `method.scaling` keeps its meaning here [ours]: it is `alpha / r` at the rank `r_u` that the module has
    in the uniform plan under the same budget. With `alpha = scaling * sqrt(r_u)` this is rsLoRA's rule, and a uniform
    plan is that of `variant=lora`.
    """

    name = "rslora"
    description = (
        "LoRA's update, scaled by 1 / sqrt(rank) over the modules (rsLoRA, arXiv 2312.03732) and as planned at the "
        "uniform rank"
    )

    def scalings(self, scaling: float, ranks: Mapping[str, int], uniform: Mapping[str, int]) -> dict[str, float]:
        """Return `scaling * sqrt(r_u / r_m)` of every adapted linear."""
        return {name: scaling * math.sqrt(uniform[name] / rank) for name, rank in ranks.items()}
