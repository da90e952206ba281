"""Gemma, Gemma 2, and the text models of Gemma 3."""

from __future__ import annotations

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.llama import Llama


@MODEL_KINDS.register
class Gemma(Llama):
    """Gemma (Gemma Team, 2024): Llama's modules, with scaled embeddings and norms that multiply by `1 + w`."""

    name = "gemma"


@MODEL_KINDS.register
class Gemma2(Gemma):
    """Gemma 2 (Gemma Team, 2024): norms before and after each sublayer, and a window in every other block."""

    name = "gemma2"


@MODEL_KINDS.register
class Gemma3Text(Gemma):
    """The text models of Gemma 3 (Gemma Team, 2025): also a norm of queries and keys."""

    name = "gemma3_text"
