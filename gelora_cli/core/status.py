"""Finding runs, and telling whether each is running, finished, failed or interrupted; no torch."""

from __future__ import annotations

import os
from pathlib import Path

from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.done import is_done
from gelora_cli.core.locks import is_locked
from gelora_cli.core.run_files import ADAPTER, CHECKPOINTS, PROFILES, SWEEPS


def run_status(directory: Path) -> str:
    """Return `done`, `running`, `failed` or `interrupted`; `run.json` is read."""
    return status_of(directory, read_artifact(RunManifest, directory / RunManifest.FILE))


def status_of(directory: Path, manifest: RunManifest) -> str:
    """Return the status of the run in this directory whose `run.json` is `manifest`.

    A manifest can't say that its process was killed, so `running` is believed only while the directory is locked.
    """
    if manifest.status == "running" or (manifest.status == "done" and not is_done(directory)):
        return "running" if is_locked(directory) else "interrupted"
    return manifest.status


def find_runs(directory: Path) -> list[Path]:
    """Return every run directory at or below a directory, sorted; links are not followed.

    A directory that can't be read is included, since it may be a run.
    """
    runs: list[Path] = []

    def add_unreadable(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # removed while we looked
            runs.append(Path(error.filename))

    for parent, directories, files in os.walk(directory, onerror=add_unreadable):
        if RunManifest.FILE in files or RunManifest.FILE in directories:
            runs.append(Path(parent))
        # Changed in place, which keeps os.walk out of them: thousands of files, and never a run.
        directories[:] = [name for name in directories if name not in (PROFILES, SWEEPS, ADAPTER, CHECKPOINTS)]
    return sorted(runs)
