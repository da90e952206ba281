"""What a tracker is: it takes lines of metrics, and changes no number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Takes the metrics of one training, in the main process."""

    def log(self, values: Mapping[str, Any]) -> None:
        """Take one line: the loss of some steps, an evaluation of a split, or what a probe measured."""


class TrackerKind(ABC):
    """A kind of tracker, registered in `core.registries.TRACKERS`.

    Attributes:
        name: what a user calls it.
    """

    name: str

    @abstractmethod
    def open(self, directory: Path) -> Tracker:
        """Return the tracker of the training in a run directory."""
