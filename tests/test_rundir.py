"""Names, atomic writes, locks and status."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from gelora_cli import rundir
from gelora_cli.artifacts import GeloraError, RunManifest


def manifest(status: str) -> RunManifest:
    now = rundir.now()
    return RunManifest(status, "gelora run", now, now, 1, "host", 1, "cpu", "float32", {}, None, {}, {}, None, None)


def test_names_hold_no_clock_and_nothing_unsafe(tmp_path: Path) -> None:
    path = rundir.run_path(
        tmp_path, task="cola", model="minilm", method="gelora", budget="0.16pct", seed=3, digits="0123abcd"
    )
    assert path == tmp_path / "cola/minilm/gelora/b0.16pct-s3-0123abcd"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    rundir.write_atomic(path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GeloraError, match="No space left on device; free space"):
        rundir.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    "refused",
    [OSError(errno.ENOSPC, "No space left on device"), ValueError("I/O error: No space left on device (os error 28)")],
)
def test_a_full_disk_is_one_message_whoever_met_it(tmp_path: Path, refused: Exception) -> None:
    message = r"adapter can't be written: No space left on device; free space"
    with pytest.raises(GeloraError, match=message), rundir.writing(tmp_path / "adapter"):
        raise refused


def test_other_errors_pass_through_a_write() -> None:
    with pytest.raises(ValueError, match="not of the system"), rundir.writing(Path("x")):
        raise ValueError("not of the system")


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GeloraError, match=r"can't be written to.*runs_dir=DIR"):
        rundir.create(tmp_path / "file" / "below")


HOLD = "import sys; from pathlib import Path; from gelora_cli import rundir\nwith rundir.locked(Path(sys.argv[1]), 'the run directory'):\n print('held', flush=True); sys.stdin.read()"  # noqa: E501


def test_a_second_process_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert isinstance(holder.stdout, io.TextIOWrapper)
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(GeloraError, match=f"in use by process {holder.pid} on"), rundir.locked(tmp_path, "it"):
            pass
        rundir.write_artifact(manifest("running"), tmp_path)
        assert rundir.status(tmp_path) == "running"
        holder.kill()
    assert rundir.status(tmp_path) == "interrupted"
    with rundir.locked(tmp_path, "it"):
        assert (tmp_path / rundir.LOCK).read_text().startswith(f"process {os.getpid()} ")


@pytest.mark.parametrize(("status", "done", "seen"), [("done", True, "done"), ("done", False, "interrupted")])
def test_done_is_done_only_with_its_marker(tmp_path: Path, status: str, done: bool, seen: str) -> None:
    rundir.write_artifact(manifest(status), tmp_path)
    if done:
        rundir.mark_done(tmp_path)
    assert rundir.status(tmp_path) == seen


def test_done_lists_the_sha256_of_every_file(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_bytes(b"abc")
    (tmp_path / "log.txt").write_text("grows on")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "weights").write_bytes(b"abc")
    rundir.mark_done(tmp_path)
    assert (tmp_path / "DONE").read_text() == f"{hashlib.sha256(b'abc').hexdigest()}  adapter/weights\n"


def test_a_cut_or_edited_done_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    for name in (*rundir.REQUIRED, "adapter/weights"):
        (tmp_path / name).write_text(name)
    rundir.mark_done(tmp_path)
    rundir.check_intact(tmp_path)
    done = (tmp_path / "DONE").read_text()
    lines = done.splitlines(keepends=True)
    for text in ("", done[:-9], *("".join(lines[:i] + lines[i + 1 :]) for i in range(len(lines)))):
        (tmp_path / "DONE").write_text(text)
        with pytest.raises(GeloraError, match=r"DONE is damaged|is missing"):
            rundir.check_intact(tmp_path)
    (tmp_path / "DONE").write_text(done)
    (tmp_path / "ranks.json").write_text("edited")
    with pytest.raises(GeloraError, match=r"ranks\.json is damaged or was changed"):
        rundir.check_intact(tmp_path)


def test_clearing_removes_the_artifacts_of_an_earlier_try(tmp_path: Path) -> None:
    names: tuple[Any, ...] = (rundir.DONE, "result.json", rundir.METRICS, "profile.png")
    for name in names:
        (tmp_path / name).write_text("old")
    (tmp_path / "mine.txt").write_text("kept")
    rundir.clear(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]


def test_a_moment_of_someone_elses_lock_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / rundir.LOCK).write_text("")
    looking = (tmp_path / rundir.LOCK).open()  # as `is_held` does
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.1, looking.close).start()
    with rundir.locked(tmp_path, "it"):
        assert rundir.is_held(tmp_path)


def test_what_a_killed_process_was_writing_goes_with_the_next_lock(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / "adapter").mkdir()
    dead, alive = tmp_path / f"adapter/.README.md.{ended.pid}.tmp", tmp_path / f".run.json.{os.getpid()}.tmp"
    for path in (dead, alive, tmp_path / ".mine.tmp"):
        path.write_text("half")
    exported, staged = tmp_path / f".exported.{ended.pid}.tmp", tmp_path / f"{rundir.STAGING}x1y2"
    for place in (exported, staged):
        place.mkdir()
        (place / "weights").write_text("half")
    with rundir.locked(tmp_path, "it"):
        assert not (dead.exists() or exported.exists() or staged.exists())
        assert alive.exists()
        assert (tmp_path / ".mine.tmp").exists()
