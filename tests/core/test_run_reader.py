"""The files of a run by name: those of its directory, and how a run finds the one that it started from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.run_reader import RunDirectory, artifact_of, as_run_files
from tests.helpers.written_runs import write_run


def test_a_directory_gives_its_files_by_name(tmp_path: Path) -> None:
    directory = write_run(tmp_path, "lora", 0, 0.5)
    files = as_run_files(directory)
    assert files == RunDirectory(directory) and as_run_files(files) is files
    assert files.has(run_files.CONFIG) and not files.has("profile.json")
    assert artifact_of(RunResult, files).value == 0.5
    assert files.status(artifact_of(RunManifest, files)) == "done"
    files.verify()
    (directory / run_files.METRICS).write_text("{}\n")
    with pytest.raises(GeloraError, match=r"metrics\.jsonl is damaged or was changed"):
        files.verify()
    assert files.start("runs/before").place == Path("runs/before")


def test_predictions_of_a_split_come_in_their_order(tmp_path: Path) -> None:
    rows = [{"split": split, "id": number, "text": "a\nb"} for number, split in enumerate(("b", "a", "b"))]
    (tmp_path / run_files.PREDICTIONS).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert [row["id"] for row in RunDirectory(tmp_path).prediction_rows("b")] == [0, 2]
    with pytest.raises(OSError, match="No such file"):
        RunDirectory(tmp_path / "nowhere").prediction_rows("b")
