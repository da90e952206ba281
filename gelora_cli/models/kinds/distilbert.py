"""DistilBERT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import EncoderKind


@MODEL_KINDS.register
class DistilBert(EncoderKind):
    """DistilBERT (Sanh et al., 2019)."""

    name = "distilbert"
    blocks = "transformer.layer"
    linears: ClassVar[Mapping[str, str]] = {
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "output": "attention.out_lin",
        "up": "ffn.lin1",
        "down": "ffn.lin2",
    }
