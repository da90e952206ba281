"""ELECTRA."""

from __future__ import annotations

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.bert import Bert


@MODEL_KINDS.register
class Electra(Bert):
    """ELECTRA (Clark et al., 2020): BERT's modules."""

    name = "electra"
