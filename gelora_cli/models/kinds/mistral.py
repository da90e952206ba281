"""Mistral and Ministral."""

from __future__ import annotations

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.llama import Llama


@MODEL_KINDS.register
class Mistral(Llama):
    """Mistral (Jiang et al., 2023): Llama's modules."""

    name = "mistral"


@MODEL_KINDS.register
class Ministral(Llama):
    """Ministral of 2024: Llama's modules, with a window in some or all blocks."""

    name = "ministral"


@MODEL_KINDS.register
class Ministral3(Llama):
    """The text models of Ministral 3: Llama's modules."""

    name = "ministral3"
