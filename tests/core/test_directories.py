"""Making directories, and what killed processes left in them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gelora_cli.core import run_files
from gelora_cli.core.directories import create_directory, new_directory
from gelora_cli.core.errors import GeloraError


def test_names_hold_no_clock_and_nothing_unsafe(tmp_path: Path) -> None:
    path = run_files.run_path(
        tmp_path, task="cola", model="minilm", method="gelora", budget="0.16pct", seed=3, digits="0123abcd"
    )
    assert path == tmp_path / "cola/minilm/gelora/b0.16pct-s3-0123abcd"


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GeloraError, match=r"can't be written to.*runs_dir=DIR"):
        create_directory(tmp_path / "file" / "below")


def test_half_written_outputs_of_ended_processes_go_with_the_next_write(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    half, other = tmp_path / f".exported.{ended.pid}.tmp", tmp_path / f".exports.{ended.pid}.tmp"
    half.mkdir()
    other.mkdir()
    with new_directory(tmp_path / "exported") as place:
        (place / "weights").write_text("whole")
    assert not half.exists()
    assert other.exists()
