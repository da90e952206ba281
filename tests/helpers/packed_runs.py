"""Finished runs of one commit in directories as `gelora run` makes them, to be packed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.done import mark_done
from tests.helpers.report_runs import score_on_holdout, write_whole

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_packable(
    runs: Path, method: str, seed: int, *, commit: str | None = COMMIT, numerics: int = 2, trial: bool = False
) -> Path:
    """Write a finished run of 40 predictions below `runs`; a trial is scored on held-out training rows."""
    directory = write_whole(runs / "mnli" / "minilm", method, seed, 30 - seed)
    (directory / run_files.LOG).write_text("a log\n")
    (directory / "ranks.png").write_bytes(b"a picture")
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    write_artifact(replace(manifest, git_commit=commit, numerics=numerics), directory)
    mark_done(directory)
    if trial:
        score_on_holdout(directory)
    return directory
