"""LoRA with ranks by the spectrum of activations [ours]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gelora_cli.allocation.activations import MEASURES
from gelora_cli.config.keys import key
from gelora_cli.config.schema import PlannedLoraConfig
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.lora import PlannedLora


@dataclass
class ActivationSettings(PlannedLoraConfig):
    """Which number of a spectrum counts."""

    rank_keys: ClassVar[tuple[str, ...]] = ("measure",)

    measure: str = key(
        "effective_rank",
        help="of the covariance of activations: exp(entropy) of its spectrum, or (sum l)^2 / sum l^2",
        choices=MEASURES,
    )


@METHODS.register
class ActivationsLora(PlannedLora):
    """Ranks by how many directions the inputs of a block's linears fill."""

    name = "activations"
    description = "A LoRA adapter with ranks by the spectrum of activations"
    allocator = "activations"
    config_class = ActivationSettings
