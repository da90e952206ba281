"""Keys that several methods of low-rank updates declare."""

from __future__ import annotations

from typing import Any

from gelora_cli.config.keys import key


def start_ratio(default: float) -> Any:
    """Declare the key `start_ratio` of a method that starts with more parameters than it keeps."""
    return key(default, help="trainable parameters at the start over the budget", low=1, high=100)
