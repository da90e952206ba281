"""BERT, and MiniLM, which has the same `model_type`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import EncoderKind


@MODEL_KINDS.register
class Bert(EncoderKind):
    """BERT (Devlin et al., 2019)."""

    name = "bert"
    blocks = "encoder.layer"
    linears: ClassVar[Mapping[str, str]] = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "output": "attention.output.dense",
        "up": "intermediate.dense",
        "down": "output.dense",
    }
