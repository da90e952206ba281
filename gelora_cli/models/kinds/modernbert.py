"""ModernBERT, and the Ettin encoders and mmBERT, which have the same `model_type`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import RotaryEncoderKind


@MODEL_KINDS.register
class ModernBert(RotaryEncoderKind):
    """ModernBERT (Warner et al., 2024): query, key and value are one linear layer, gate and up another."""

    name = "modernbert"
    blocks = "layers"
    linears: ClassVar[Mapping[str, str]] = {
        "qkv": "attn.Wqkv",
        "output": "attn.Wo",
        "gate_up": "mlp.Wi",
        "down": "mlp.Wo",
    }
