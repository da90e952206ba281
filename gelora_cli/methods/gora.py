"""LoRA with the ranks of GoRA (NeurIPS 2025, arXiv 2502.12171) and the ordinary start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from gelora_cli.allocation.gora import BUDGET_RULES
from gelora_cli.config.keys import key
from gelora_cli.config.schema import PlannedLoraConfig
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.lora import PlannedLora


@dataclass
class GoraSettings(PlannedLoraConfig):
    """How importances become ranks."""

    rank_keys: ClassVar[tuple[str, ...]] = ("budget_rule", "rank_min", "rank_max")

    budget_rule: str = key(
        "ours",
        help="units shared out as everywhere here, or GoRA's rule as in its paper or its code",
        choices=BUDGET_RULES,
    )
    rank_min: int = key(4, help="the smallest rank of GoRA's rule", low=1)
    rank_max: int = key(32, help="the largest rank of GoRA's rule", low=1)

    def problems(self) -> Iterator[str]:
        """Yield that no rank is between the two bounds, or that nothing reads them."""
        defaults = GoraSettings.rank_min, GoraSettings.rank_max
        if self.budget_rule == "ours" and (self.rank_min, self.rank_max) != defaults:
            yield (
                f"method.rank_min={self.rank_min} method.rank_max={self.rank_max}: method.budget_rule=ours has no such "
                "bounds; give method.budget_rule=paper or code, or leave them out"
            )
        if self.rank_min > self.rank_max:
            yield f"method.rank_min={self.rank_min} is above method.rank_max={self.rank_max}; give a smaller one"


@METHODS.register
class GoraLora(PlannedLora):
    """Ranks by the mean of |weight * gradient| of each linear."""

    name = "gora"
    description = "A LoRA adapter with ranks by the importance of weights (GoRA, arXiv 2502.12171; ordinary start)"
    allocator = "gora"
    config_class = GoraSettings
