"""RoBERTa."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.bert import Bert


@MODEL_KINDS.register
class Roberta(Bert):
    """RoBERTa (Liu et al., 2019): BERT's modules, with positions that start after the padding token's id."""

    name = "roberta"

    def longest_input(self, config: Mapping[str, Any]) -> int | None:
        """Return the number of rows of the table of positions without those up to the padding token's id."""
        rows = super().longest_input(config)
        if rows is None:
            return None
        pad = config.get("pad_token_id")
        if pad is None:
            pad = 1  # RoBERTa's default
        return rows - pad - 1
