"""The registered methods by what they are."""

from __future__ import annotations

from gelora_cli.allocation.base import IDIM
from gelora_cli.allocation.ranks import planned_methods
from gelora_cli.core.registries import ALLOCATORS, METHODS

PLANNED = planned_methods()
PROFILE_BASED = tuple(name for name in PLANNED if ALLOCATORS.get(METHODS.get(name).allocator).signal == IDIM)
"""GeLoRA and its controls."""
EXEMPT = tuple(name for name in METHODS.names() if METHODS.get(name).exempt)
RIVALS = tuple(name for name in METHODS.names() if name not in PLANNED)
BOUNDED = tuple(name for name in RIVALS if name not in EXEMPT)
"""Methods that keep within a budget and plan by themselves."""
