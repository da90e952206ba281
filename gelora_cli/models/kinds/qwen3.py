"""Qwen3."""

from __future__ import annotations

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.llama import Llama


@MODEL_KINDS.register
class Qwen3(Llama):
    """Qwen3 (Yang et al., 2025): Llama's modules, with a norm of queries and keys."""

    name = "qwen3"
