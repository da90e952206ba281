"""Fine-tuning methods: what each attaches to the model, by name."""

from __future__ import annotations

from collections.abc import Callable

from gelora_cli.methods.base import Attached, AttachRequest
from gelora_cli.methods.lora import attach_lora

METHODS: dict[str, Callable[[AttachRequest], Attached]] = dict.fromkeys(
    ("gelora", "lora", "shuffled", "random", "reversed"), attach_lora
)

__all__ = ["METHODS", "AttachRequest", "Attached", "attach_lora"]
