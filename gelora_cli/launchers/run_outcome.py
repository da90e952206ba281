"""What came of a job, read from the directory of its run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.done import is_done
from gelora_cli.core.errors import GeloraError
from gelora_cli.launchers.job import Outcome

FILES_SECONDS = 120.0
"""How long this machine may take to see the last files of a job of another one: NFS looks again after up to 60 s."""
POLL_SECONDS = 0.5


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


def wait_for_run(directories: Sequence[Path], begun: str, *, forced: bool, keep_waiting: Callable[[], bool]) -> None:
    """Wait until this machine sees the finished run of a job that has ended on another one.

    A run that was done before the sweep began is the job's own if no other directory is there in which the job can
    have worked: a run makes its directory when it begins, long before its last files.

    Args:
        directories: where the run may be.
        begun: when the sweep began, as `run.json` has it.
        forced: whether the job repeats a run that was done before.
        keep_waiting: asked before each pause; False ends the wait.
    """
    while True:
        done = [directory for directory in directories if is_seen_done(directory)]
        if latest_run(done, since=begun) is not None:
            return
        has_other = any(directory.exists() for directory in directories if directory not in done)
        if done and not has_other and not forced:
            return
        if not keep_waiting():
            return
        time.sleep(POLL_SECONDS)


def is_seen_done(directory: Path) -> bool:
    """Return whether this machine sees that a run is done, and its result, which may come into sight later."""
    return is_done(directory) and (directory / RunResult.FILE).is_file()


def wait_from_now() -> Callable[[], bool]:
    """Return what says, from now on, whether the files of a job that has just ended may still come."""
    deadline = time.monotonic() + FILES_SECONDS
    return lambda: time.monotonic() < deadline


def unseen_run(directories: Sequence[Path]) -> str:
    """Return the message of a job that ended without an error, and whose finished run this machine does not see."""
    places = " or ".join(map(str, directories))
    return (
        f"it ended without an error, but no finished run is seen in {places}. If it was removed, give the same command "
        "again; else runs_dir must be a directory that all machines share"
    )


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
