"""Rotary positions that change with the length of a text; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ROTARY_LIMIT = "beyond {longest} tokens its rotary positions depend on the longest text of a batch"
"""What a message says of `longest_with_fixed_positions`."""


def longest_with_fixed_positions(config: Mapping[str, Any]) -> int | None:
    """Return the tokens up to which rotary positions are fixed; None if they always are.

    Transformers stretches the positions of `longrope` (Phi-3) and `dynamic` when a batch holds a longer text. A text
    then has other outputs beside a long one than beside a short one, so longer ones are refused [ours].

    Args:
        config: the content of config.json, as it is in files or as transformers reads it.
    """
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    if not isinstance(rope, dict):
        return None
    # Some kinds have other positions in each type of block.
    parts = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    types = {str(part.get("rope_type", part.get("type"))) for part in parts}
    longest = None
    if types & {"longrope", "su"}:  # Phi-3 called it `su` first
        key = "original_max_position_embeddings"
        longest = rope.get(key, config.get(key))
    elif "dynamic" in types:
        longest = config.get("max_position_embeddings")
    return longest if isinstance(longest, int) else None
