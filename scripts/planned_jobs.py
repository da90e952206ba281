"""What scripts that plan many runs have in common: the jobs that lists of values stand for, and what passes cost."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

FORWARD = 3.0  # a forward pass is about so many times as fast as a step of training


def combinations(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every combination of values, of which lists stand for one of each; the last list changes fastest."""
    lists = [value if isinstance(value, list) else [value] for value in values.values()]
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*lists)]
