"""LoRA with the ranks of EVA (arXiv 2410.07170) and the ordinary start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gelora_cli.config.schema import PlannedLoraConfig
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.eva import EvaSettings
from gelora_cli.methods.lora import PlannedLora


@dataclass
class EvaRanksSettings(EvaSettings, PlannedLoraConfig):
    """EVA's keys, which here choose only ranks."""

    rank_keys: ClassVar[tuple[str, ...]] = ("rho",)


@METHODS.register
class EvaRanksLora(PlannedLora):
    """Ranks by the explained variance of each linear's inputs, over all linears."""

    name = "eva_ranks"
    description = "A LoRA adapter with EVA's ranks (arXiv 2410.07170) and LoRA's ordinary start"
    allocator = "eva_ranks"
    config_class = EvaRanksSettings
