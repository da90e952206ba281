"""What is stored with an adapter's tensors, `gelora_adapter.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class SavedAdapter:
    """What rebuilds a saved adapter of a method that PEFT does not have, besides its tensors.

    `sizes` holds the rank or bottleneck of each adapted module, by full name. `base` is the type of the base model, and
    `tensors` the number of saved tensors.
    """

    method: str
    sizes: dict[str, int]
    scaling: float
    base: str
    tensors: int

    FILE: ClassVar[str] = "gelora_adapter.json"
