"""StarCoder2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import DecoderKind
from gelora_cli.models.kinds.llama import ATTENTION


@MODEL_KINDS.register
class Starcoder2(DecoderKind):
    """StarCoder2 (Lozhkov et al., 2024): Llama's attention, and a feed-forward without a gate."""

    name = "starcoder2"
    blocks = "layers"
    linears: ClassVar[Mapping[str, str]] = {
        **ATTENTION,
        "up": "mlp.c_fc",
        "down": "mlp.c_proj",
    }
