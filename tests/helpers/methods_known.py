"""The registered methods by what they are."""

from __future__ import annotations

from gelora_cli.allocation.ranks import planned_methods
from gelora_cli.core.registries import METHODS

PLANNED = planned_methods()
EXEMPT = tuple(name for name in METHODS.names() if METHODS.get(name).exempt)
RIVALS = tuple(name for name in METHODS.names() if name not in PLANNED)
BOUNDED = tuple(name for name in RIVALS if name not in EXEMPT)
"""Methods that keep within a budget and plan by themselves."""
