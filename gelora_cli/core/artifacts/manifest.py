"""What a run is and how it went, `run.json`, and what `dry_run=true` estimates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Estimate:
    """What `dry_run=true` found about a run: seconds, estimated from real steps of one process, and peak memory.

    `signals` has the seconds of each signal that is still to be measured, by its shared directory, so that a grid
    counts it once.
    """

    train_seconds: float
    evaluation_seconds: float
    attach_seconds: float
    signals: dict[str, float]
    peak_bytes: int
    processes: int
    done: bool


@dataclass(frozen=True)
class RunManifest:
    """`run.json`: what was run, where, with which versions, and how it went.

    `numerics` is the version of the arithmetic (`NUMERICS` in `config/identity.py`), and 1 for runs written before it
    was recorded. `same_as` is the relative path to the run with the same ranks and settings that was trained instead of
    this one, and None for a run that was trained itself. `dtype` is how the frozen weights were stored (`model.dtype`).
    """

    status: str  # running, done, failed or interrupted
    command: str
    created: str  # in UTC, ISO 8601
    updated: str
    pid: int
    host: str
    processes: int
    device: str
    precision: str
    versions: dict[str, str]
    git_commit: str | None
    fingerprints: dict[str, str]
    seconds: dict[str, float]  # by stage
    peak_bytes: int | None
    error: str | None
    numerics: int = 1
    same_as: str | None = None
    dtype: str = "float32"

    FILE: ClassVar[str] = "run.json"
