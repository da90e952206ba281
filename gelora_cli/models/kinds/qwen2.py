"""Qwen2 and Qwen2.5."""

from __future__ import annotations

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.llama import Llama


@MODEL_KINDS.register
class Qwen2(Llama):
    """Qwen2 (Yang et al., 2024): Llama's modules."""

    name = "qwen2"
