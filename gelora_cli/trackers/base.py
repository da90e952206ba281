"""What a tracker is: it is told of one training, beside the run directory, and changes no number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from gelora_cli.config.schema import TrackerConfig

Settings = TypeVar("Settings", bound=TrackerConfig)
DONE, STOPPED, FAILED = "done", "stopped", "failed"
"""How a run ends: with its result, by a signal or the end of its process, or with an error."""


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """The run that a tracker is told of.

    Attributes:
        directory: the run directory, which stays the truth.
        id: names the run in the tracker: the same after a resume, another one after `force=true`.
        name: task, model, method and directory of the run, `cola/minilm/gelora/b0.1M-s0-1a2b3c4d`.
        group: task and model, which the runs of a comparison share, `cola/minilm`.
        resumed: whether a previous attempt began this run of the tracker.
        parameters: the configuration by dotted keys, the plan (`plan.ranks`, ...) and the run directory. No value is
            a secret: those come from a library's own environment or login.
    """

    directory: Path
    id: str
    name: str
    group: str
    resumed: bool
    parameters: Mapping[str, Any]


class TakesLines(Protocol):
    """What a training gives its lines of metrics to, in the main process."""

    def log(self, values: Mapping[str, Any]) -> None:
        """Take one line: the loss of some steps, an evaluation of a split, or what a probe measured."""


class Tracker:
    """Is told of one training, in a process of its own. A tracker overrides what it needs.

    Whatever it does there, the training neither waits for it nor changes: it may be slow, fail or hang.
    """

    def start(self, run: TrackedRun) -> str:
        """Begin or continue a run; the returned text says where to look at it, and may be empty."""
        return ""

    def log(self, values: Mapping[str, Any]) -> None:
        """Take one line of `metrics.jsonl`: the loss of some steps, an evaluation of a split, or a probe's values."""
        raise NotImplementedError

    def picture(self, path: Path) -> None:
        """Take a picture of the run, `NAME.png`; again if it was drawn again."""

    def end(self, state: str, result: Mapping[str, float]) -> None:
        """Take how the run ended (`done`, `stopped` or `failed`), and its final values if it is done."""

    def close(self) -> None:
        """Write what is not written yet. Nothing follows."""


class TrackerKind(ABC, Generic[Settings]):
    """A kind of tracker, registered in `core.registries.TRACKERS`.

    Attributes:
        name: what a user calls it in `tracker=NAME`.
        config_class: the class of its settings, whose keys a user writes behind `tracker.NAME.`: `Settings`.
        library: the module that it needs, which the extra of its name installs; empty if it needs none.
    """

    name: str
    config_class: ClassVar[type[TrackerConfig]] = TrackerConfig
    library: ClassVar[str] = ""

    @abstractmethod
    def open(self, directory: Path, settings: Settings) -> Tracker:
        """Return the tracker of the training in a run directory; called in the tracker's own process."""


def metric_values(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a line of `metrics.jsonl` by name, as trackers draw them.

    Those of a reading of the loss stand below `train/`, of an evaluation below the name of its split, of the probe
    below `track/`. A list has a number for each entry, from 1: `ranks/01`. Text and missing values are left out.
    """
    values = {name: value for name, value in line.items() if name not in ("step", "epoch", "split")}
    if "split" in line:
        return _flat(values, f"{line['split']}/")
    if "track" in line:
        return _flat({"track": values["track"], "track/seconds": values.get("seconds")}, "")
    ranks = values.pop("ranks", None)
    return _flat(values, "train/") | _flat({"ranks": ranks}, "")


def _flat(values: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """Return all numbers in a mapping of numbers, lists and mappings."""
    numbers: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            numbers |= _flat(value, f"{prefix}{name}/")
        elif isinstance(value, list | tuple):
            width = max(2, len(str(len(value))))
            items = {str(index).zfill(width): item for index, item in enumerate(value, 1)}
            numbers |= _flat(items, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            numbers[prefix + name] = float(value)
    return numbers
