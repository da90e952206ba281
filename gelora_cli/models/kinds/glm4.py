"""GLM-4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import DecoderKind


@MODEL_KINDS.register
class Glm4(DecoderKind):
    """GLM-4 of 2025, `glm4` in transformers: Llama's attention, and one linear for gate and up."""

    name = "glm4"
    blocks = "layers"
    linears: ClassVar[Mapping[str, str]] = {
        "query": "self_attn.q_proj",
        "key": "self_attn.k_proj",
        "value": "self_attn.v_proj",
        "output": "self_attn.o_proj",
        "gate_up": "mlp.gate_up_proj",
        "down": "mlp.down_proj",
    }
