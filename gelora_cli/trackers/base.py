"""What a tracker is: it takes lines of metrics, and changes no number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from gelora_cli.config.schema import TrackerConfig

Settings = TypeVar("Settings", bound=TrackerConfig)


class Tracker(Protocol):
    """Takes the metrics of one training, in the main process."""

    def log(self, values: Mapping[str, Any]) -> None:
        """Take one line: the loss of some steps, an evaluation of a split, or what a probe measured."""

    def close(self) -> None:
        """Write what is not written yet. Nothing is logged after this."""


class TrackerKind(ABC, Generic[Settings]):
    """A kind of tracker, registered in `core.registries.TRACKERS`.

    Attributes:
        name: what a user calls it in `trackers=[NAME]`.
        config_class: the class of its settings, whose keys a user writes behind `tracker.NAME.`: `Settings`.
    """

    name: str
    config_class: ClassVar[type[TrackerConfig]] = TrackerConfig

    @abstractmethod
    def open(self, directory: Path, settings: Settings) -> Tracker:
        """Return the tracker of the training in a run directory; called in the main process alone."""
