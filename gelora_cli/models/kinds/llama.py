"""Llama."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import DecoderKind

ATTENTION = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.o_proj",
}
"""Role -> linear layer of the attention, as most decoders name it."""


@MODEL_KINDS.register
class Llama(DecoderKind):
    """Llama (Touvron et al., 2023)."""

    name = "llama"
    blocks = "layers"
    linears: ClassVar[Mapping[str, str]] = {
        **ATTENTION,
        "up": "mlp.up_proj",
        "gate": "mlp.gate_proj",
        "down": "mlp.down_proj",
    }
