"""GLM-4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import DecoderKind
from gelora_cli.models.kinds.llama import ATTENTION


@MODEL_KINDS.register
class Glm4(DecoderKind):
    """GLM-4 of 2025, `glm4` in transformers: Llama's attention, and one linear for gate and up."""

    name = "glm4"
    blocks = "layers"
    linears: ClassVar[Mapping[str, str]] = {
        **ATTENTION,
        "gate_up": "mlp.gate_up_proj",
        "down": "mlp.down_proj",
    }
