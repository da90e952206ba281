"""XLM-RoBERTa."""

from __future__ import annotations

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.roberta import Roberta


@MODEL_KINDS.register
class XlmRoberta(Roberta):
    """XLM-RoBERTa (Conneau et al., 2020): RoBERTa's modules and positions."""

    name = "xlm-roberta"
