"""Phi-3, and Phi-4, which has the same `model_type`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import DecoderKind


@MODEL_KINDS.register
class Phi3(DecoderKind):
    """Phi-3 (Abdin et al., 2024): one linear for query, key and value, and one for gate and up."""

    name = "phi3"
    blocks = "layers"
    linears: ClassVar[Mapping[str, str]] = {
        "qkv": "self_attn.qkv_proj",
        "output": "self_attn.o_proj",
        "gate_up": "mlp.gate_up_proj",
        "down": "mlp.down_proj",
    }
