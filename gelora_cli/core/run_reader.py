"""A run's files by name, wherever they are stored: in a run's directory, or packed in an archive; no torch.

Whoever reads finished runs (a report, `gelora ls`, `gelora tune`) takes `RunFiles`, and never asks where they are.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.codec import StoredArtifact, from_json
from gelora_cli.core.done import verify_checksums
from gelora_cli.core.files import read_text
from gelora_cli.core.run_files import PREDICTIONS
from gelora_cli.core.status import status_of

ArtifactT = TypeVar("ArtifactT", bound=StoredArtifact)
PredictionRow = dict[str, Any]
"""A line of `predictions.jsonl`."""


class RunFiles(ABC):
    """The files of a run.

    Attributes:
        place: the run's directory; of a packed run the archive's path with the run's path in it, as messages name it.
    """

    place: Path

    @abstractmethod
    def has(self, name: str) -> bool:
        """Return whether the run has a file of this name."""

    @abstractmethod
    def text(self, name: str, what: str) -> str:
        """Return the text of a file; `what` it is in messages.

        Raises:
            GeloraError: it is missing or can't be read.
        """

    @abstractmethod
    def prediction_rows(self, split: str) -> list[PredictionRow]:
        """Return the lines of `predictions.jsonl` that belong to a split, in their order.

        Raises:
            OSError, ValueError, KeyError, TypeError: there are none, or they are damaged.
        """

    @abstractmethod
    def verify(self) -> None:
        """Compare the files of a finished run with the sha256 that DONE names.

        Raises:
            GeloraError: one is missing, damaged or changed.
        """

    @abstractmethod
    def status(self, manifest: RunManifest) -> str:
        """Return `done`, `running`, `failed` or `interrupted` for the run whose `run.json` is `manifest`."""

    @abstractmethod
    def start(self, init_from: str) -> RunFiles:
        """Return the run that this one started from, as its `init_from` names it."""


@dataclass(frozen=True)
class RunDirectory(RunFiles):
    """A run whose files are in a directory."""

    place: Path

    def has(self, name: str) -> bool:
        """Return whether the directory has a file of this name."""
        return (self.place / name).exists()

    def text(self, name: str, what: str) -> str:
        """Return the text of a file; `what` it is in messages.

        Raises:
            GeloraError: as `read_text` says.
        """
        return read_text(self.place / name, what)

    def prediction_rows(self, split: str) -> list[PredictionRow]:
        """Return the lines of `predictions.jsonl` that belong to a split, in their order.

        Raises:
            OSError, ValueError, KeyError, TypeError: there are none, or they are damaged.
        """
        # One JSON list is read much faster than many lines. Within a row a line break is written as \\n.
        text = (self.place / PREDICTIONS).read_text(encoding="utf-8").strip("\n").replace("\n", ",")
        return [row for row in json.loads(f"[{text}]") if row["split"] == split]

    def verify(self) -> None:
        """Compare the files with the sha256 that DONE names.

        Raises:
            GeloraError: as `verify_checksums` says.
        """
        verify_checksums(self.place)

    def status(self, manifest: RunManifest) -> str:
        """Return the run's status, which the locks of its directory decide where `run.json` can't."""
        return status_of(self.place, manifest)

    def start(self, init_from: str) -> RunFiles:
        """Return the directory of the run that this one started from."""
        return RunDirectory(Path(init_from))


def as_run_files(run: RunFiles | Path) -> RunFiles:
    """Return the files of a run that is given as them or by its directory."""
    return RunDirectory(run) if isinstance(run, Path) else run


def artifact_of(kind: type[ArtifactT], run: RunFiles | Path, *, verify: bool = True) -> ArtifactT:
    """Return an artifact of a run; without `verify`, its sha256 is not checked.

    Raises:
        GeloraError: as `from_json` and `RunFiles.text` say.
    """
    files = as_run_files(run)
    return from_json(kind, files.text(kind.FILE, kind.__name__), str(files.place / kind.FILE), verify=verify)
