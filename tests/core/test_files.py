"""Atomic writes, appended lines, and files that are no files of gelora's."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gelora_cli.core import run_files
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import append_line, translate_write_errors, truncate_file, write_atomic
from tests.helpers.odd_files import linked


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_atomic(path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GeloraError, match="No space left on device"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    "refused",
    [OSError(errno.ENOSPC, "No space left on device"), ValueError("I/O error: No space left on device (os error 28)")],
)
def test_a_full_disk_is_one_message_whoever_met_it(tmp_path: Path, refused: Exception) -> None:
    message = r"adapter can't be written: No space left on device; free space"
    with pytest.raises(GeloraError, match=message), translate_write_errors(tmp_path / "adapter"):
        raise refused


def test_other_errors_pass_through_a_write() -> None:
    with pytest.raises(ValueError, match="not of the system"), translate_write_errors(Path("x")):
        raise ValueError("not of the system")


def test_metrics_are_not_appended_through_a_link(tmp_path: Path) -> None:
    linked(tmp_path / run_files.METRICS)
    with pytest.raises(GeloraError, match="symbolic link"):
        append_line(tmp_path / run_files.METRICS, {"step": 1})
    with pytest.raises(GeloraError, match="symbolic link"):
        truncate_file(tmp_path / run_files.METRICS, 1)
    assert (tmp_path / "other.txt").read_text() == "mine"


def test_a_link_in_place_of_the_temporary_file_is_not_written_through(tmp_path: Path) -> None:
    linked(tmp_path / f".result.json.{os.getpid()}.tmp")
    write_atomic(tmp_path / "result.json", "new")
    assert (tmp_path / "result.json").read_text() == "new"
    assert (tmp_path / "other.txt").read_text() == "mine"
    assert not (tmp_path / "result.json").is_symlink()
