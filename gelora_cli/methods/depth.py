"""LoRA with ranks by depth: a control."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from gelora_cli.allocation.depth import SHAPES
from gelora_cli.config.keys import key
from gelora_cli.config.schema import PlannedLoraConfig
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.lora import PlannedLora


@dataclass
class DepthSettings(PlannedLoraConfig):
    """How rank follows depth."""

    rank_keys: ClassVar[tuple[str, ...]] = ("shape", "top")

    shape: str = key(
        "rising",
        help="weights from 1 to the number of blocks, the other way round, or the last blocks alone",
        choices=SHAPES,
    )
    top: int = key(1, help="how many blocks method.shape=top adapts, counted from the last", low=1)

    def problems(self) -> Iterator[str]:
        """Yield that no block is counted for another shape."""
        if self.top != 1 and self.shape != "top":
            yield (
                f"method.top={self.top}: method.shape={self.shape} adapts all blocks, so it would change nothing; give "
                "method.shape=top, or leave method.top out"
            )


@METHODS.register
class DepthLora(PlannedLora):
    """A control: ranks that rise or fall with depth, or the last blocks alone."""

    name = "depth"
    description = "A LoRA adapter with ranks by depth, a control"
    allocator = "depth"
    config_class = DepthSettings
