"""The DONE marker, its checksums, and clearing a directory."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.core import done, run_files
from gelora_cli.core.done import clean_finished_run, clear_run, mark_done, verify_checksums
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import file_sha256
from tests.helpers.odd_files import dangling


def test_done_lists_the_sha256_of_every_file(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_bytes(b"abc")
    (tmp_path / "log.txt").write_text("grows on")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "weights").write_bytes(b"abc")
    mark_done(tmp_path)
    assert (tmp_path / "DONE").read_text() == f"{hashlib.sha256(b'abc').hexdigest()}  adapter/weights\n"


def test_a_cut_or_edited_done_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    for name in (*run_files.REQUIRED_FILES, "adapter/weights"):
        (tmp_path / name).write_text(name)
    mark_done(tmp_path)
    verify_checksums(tmp_path)
    complete = (tmp_path / "DONE").read_text()
    lines = complete.splitlines(keepends=True)
    for text in ("", complete[:-9], *("".join(lines[:i] + lines[i + 1 :]) for i in range(len(lines)))):
        (tmp_path / "DONE").write_text(text)
        with pytest.raises(GeloraError, match=r"DONE is damaged|is missing"):
            verify_checksums(tmp_path)
    (tmp_path / "DONE").write_text(complete)
    (tmp_path / "ranks.json").write_text("edited")
    with pytest.raises(GeloraError, match=r"ranks\.json is damaged or was changed"):
        verify_checksums(tmp_path)


@pytest.mark.parametrize("damage", [dangling, Path.mkdir, os.mkfifo, lambda path: path.write_bytes(b"\xff\xfe")])
def test_a_done_that_is_no_text_is_one_message(tmp_path: Path, damage: Any) -> None:
    damage(tmp_path / run_files.DONE)
    with pytest.raises(GeloraError, match=r"DONE .*force=true"):
        verify_checksums(tmp_path)


def test_every_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "adapter").mkdir()
    names = [*run_files.REQUIRED_FILES, "adapter/weights"]
    for name in names:
        (tmp_path / name).write_text(name)
    mark_done(tmp_path)
    read: list[str] = []

    def counted(path: Path) -> str:
        read.append(str(path.relative_to(tmp_path)))
        return file_sha256(path)

    monkeypatch.setattr(done, "file_sha256", counted)
    verify_checksums(tmp_path)
    assert sorted(read) == sorted(names)


def test_clearing_removes_the_artifacts_of_an_earlier_try(tmp_path: Path) -> None:
    names: tuple[Any, ...] = (run_files.DONE, "result.json", run_files.METRICS, "profile.png")
    for name in names:
        (tmp_path / name).write_text("old")
    (tmp_path / "mine.txt").write_text("kept")
    clear_run(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]


def test_clearing_takes_directories_inside_the_adapter_too(tmp_path: Path) -> None:
    (tmp_path / "adapter" / "deep" / "er").mkdir(parents=True)
    clear_run(tmp_path)
    assert not list((tmp_path / "adapter").iterdir())


def test_what_was_left_behind_after_done_goes(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / run_files.CHECKPOINTS / "step-1").mkdir(parents=True)
    (tmp_path / f".result.json.{ended.pid}.tmp").write_text("half")
    clean_finished_run(tmp_path)
    assert (tmp_path / run_files.CHECKPOINTS).exists()  # no DONE: it may be resumed
    (tmp_path / run_files.DONE).write_text("")
    clean_finished_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [run_files.DONE]
