"""What came of a job, read from the directory of its run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.launchers.job import Outcome


def latest_run(directories: Iterable[Path], since: str = "") -> tuple[Path, RunManifest] | None:
    """Return the directory that was written to last, with its `run.json`; None if there is no run in any.

    Args:
        directories: where the run may be.
        since: a time as `run.json` has it; what was written before does not count.
    """
    runs: list[tuple[Path, RunManifest]] = []
    for directory in directories:
        with contextlib.suppress(GeloraError):
            manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
            if manifest.updated >= since:
                runs.append((directory, manifest))
    return max(runs, key=lambda run: run[1].updated, default=None)


def finished_outcome(directory: Path, manifest: RunManifest, *, already_done: bool, seconds: float) -> Outcome:
    """Return the outcome of a job whose run is done."""
    return Outcome(
        0,
        str(directory),
        value=read_artifact(RunResult, directory / RunResult.FILE).value,
        already_done=already_done,
        linked=manifest.same_as is not None,
        seconds=seconds,
    )
