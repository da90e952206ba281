"""A map of a model's blocks that was found in the model itself and accepted by the user."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AcceptedMap:
    """The names that were accepted for a type of model; those of another map must be accepted again.

    Attributes:
        kind: `model_type` of config.json.
        blocks: name of the list of blocks, below the base model.
        linears: role -> name of a linear layer inside a block.
    """

    kind: str
    blocks: str
    linears: dict[str, str]
