"""Registries that a test may add to."""

from __future__ import annotations

from typing import Any

import pytest

from gelora_cli.core.registry import Registry


def forget_entries_afterwards(monkeypatch: pytest.MonkeyPatch, registry: Registry[Any]) -> None:
    """Let what a test registers be forgotten at its end."""
    entries = {name: registry.get(name) for name in registry.names()}  # all of them: a module registers only once
    monkeypatch.setattr(registry, "_entries", entries)
