"""Mistral."""

from __future__ import annotations

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.llama import Llama


@MODEL_KINDS.register
class Mistral(Llama):
    """Mistral (Jiang et al., 2023): Llama's modules."""

    name = "mistral"
