"""Tiny configurations of the decoders that few tests need; `tests.helpers.tiny` makes models of them.

An entry is kind -> (configuration class, model class, what it sets beside the sizes that all kinds share).
"""

from __future__ import annotations

from typing import Any

MORE_DECODERS: dict[str, tuple[str, str, dict[str, Any]]] = {}
