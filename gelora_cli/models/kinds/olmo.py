"""OLMo, OLMo 2 and OLMo 3."""

from __future__ import annotations

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.llama import Llama


@MODEL_KINDS.register
class Olmo(Llama):
    """OLMo (Groeneveld et al., 2024): Llama's modules, with norms that have no parameters."""

    name = "olmo"


@MODEL_KINDS.register
class Olmo2(Llama):
    """OLMo 2 (Walsh et al., 2025): norms after each sublayer, and of queries and keys."""

    name = "olmo2"


@MODEL_KINDS.register
class Olmo3(Llama):
    """OLMo 3: as OLMo 2, with a window in three of four blocks."""

    name = "olmo3"
