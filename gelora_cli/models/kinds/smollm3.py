"""SmolLM3."""

from __future__ import annotations

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.llama import Llama


@MODEL_KINDS.register
class SmolLm3(Llama):
    """SmolLM3 (Bakouch et al., 2025): Llama's modules; every fourth block has no rotary positions."""

    name = "smollm3"
