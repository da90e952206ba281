"""Methods whose adapters PEFT itself saves and loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.core.artifacts.adapter import SavedAdapter
from gelora_cli.core.errors import GeloraError
from gelora_cli.methods.base import Method, Settings

if TYPE_CHECKING:
    from torch import nn


class PeftMethod(Method[Settings]):
    """A method that saves PEFT's own format, which needs nothing to be rebuilt."""

    def rebuild(self, model: nn.Module, saved: SavedAdapter) -> None:
        """Refuse: there are no adapters of this method in our own format.

        Raises:
            GeloraError: always.
        """
        raise GeloraError(f"an adapter of method={self.name} is in PEFT's format; this one is not. Restore it")
