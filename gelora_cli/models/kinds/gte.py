"""GTE, and the Snowflake Arctic Embed encoders of the same `model_type`."""

from __future__ import annotations

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import RotaryEncoderKind
from gelora_cli.models.kinds.llama import Llama


@MODEL_KINDS.register
class Gte(RotaryEncoderKind):
    """The encoder of mGTE (Zhang et al., 2024): BERT with rotary positions and gated feed-forward layers."""

    name = "gte"
    blocks = Llama.blocks
    linears = Llama.linears
