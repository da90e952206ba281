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

from gelora_cli.core import run_files
from gelora_cli.core.codec import write_artifact
from gelora_cli.core.directories import create_directory, new_directory
from gelora_cli.core.done import clean_finished_run, clear_run, mark_done, verify_checksums
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import append_line, translate_write_errors, truncate_file, write_atomic
from gelora_cli.core.locks import is_locked, lock_directory, wait_for_lock
from gelora_cli.core.status import find_runs, run_status
from tests.helpers.manifests import manifest


def test_names_hold_no_clock_and_nothing_unsafe(tmp_path: Path) -> None:
    path = run_files.run_path(
        tmp_path, task="cola", model="minilm", method="gelora", budget="0.16pct", seed=3, digits="0123abcd"
    )
    assert path == tmp_path / "cola/minilm/gelora/b0.16pct-s3-0123abcd"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_atomic(path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GeloraError, match="No space left on device; free space"):
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


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GeloraError, match=r"can't be written to.*runs_dir=DIR"):
        create_directory(tmp_path / "file" / "below")


HOLD = "import sys; from pathlib import Path; from gelora_cli.core.locks import lock_directory\nwith lock_directory(Path(sys.argv[1]), 'the run directory'):\n print('held', flush=True); sys.stdin.read()"  # noqa: E501


def test_a_second_process_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert isinstance(holder.stdout, io.TextIOWrapper)
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(GeloraError, match=f"in use by process {holder.pid} on"), lock_directory(tmp_path, "it"):
            pass
        write_artifact(manifest("running"), tmp_path)
        assert run_status(tmp_path) == "running"
        holder.kill()
    assert run_status(tmp_path) == "interrupted"
    with lock_directory(tmp_path, "it"):
        assert (tmp_path / run_files.LOCK).read_text().startswith(f"process {os.getpid()} ")


@pytest.mark.parametrize(("status", "done", "seen"), [("done", True, "done"), ("done", False, "interrupted")])
def test_done_is_done_only_with_its_marker(tmp_path: Path, status: str, done: bool, seen: str) -> None:
    write_artifact(manifest(status), tmp_path)
    if done:
        mark_done(tmp_path)
    assert run_status(tmp_path) == seen


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
    done = (tmp_path / "DONE").read_text()
    lines = done.splitlines(keepends=True)
    for text in ("", done[:-9], *("".join(lines[:i] + lines[i + 1 :]) for i in range(len(lines)))):
        (tmp_path / "DONE").write_text(text)
        with pytest.raises(GeloraError, match=r"DONE is damaged|is missing"):
            verify_checksums(tmp_path)
    (tmp_path / "DONE").write_text(done)
    (tmp_path / "ranks.json").write_text("edited")
    with pytest.raises(GeloraError, match=r"ranks\.json is damaged or was changed"):
        verify_checksums(tmp_path)


def test_clearing_removes_the_artifacts_of_an_earlier_try(tmp_path: Path) -> None:
    names: tuple[Any, ...] = (run_files.DONE, "result.json", run_files.METRICS, "profile.png")
    for name in names:
        (tmp_path / name).write_text("old")
    (tmp_path / "mine.txt").write_text("kept")
    clear_run(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]


def test_a_moment_of_someone_elses_lock_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / run_files.LOCK).write_text("")
    looking = (tmp_path / run_files.LOCK).open()  # as `is_held` does
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.1, looking.close).start()
    with lock_directory(tmp_path, "it"):
        assert is_locked(tmp_path)


def test_what_a_killed_process_was_writing_goes_with_the_next_lock(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / "adapter").mkdir()
    dead, alive = tmp_path / f"adapter/.README.md.{ended.pid}.tmp", tmp_path / f".run.json.{os.getpid()}.tmp"
    for path in (dead, alive, tmp_path / ".mine.tmp"):
        path.write_text("half")
    exported, staged = tmp_path / f".exported.{ended.pid}.tmp", tmp_path / f"{run_files.STAGING_PREFIX}x1y2"
    for place in (exported, staged):
        place.mkdir()
        (place / "weights").write_text("half")
    with lock_directory(tmp_path, "it"):
        assert not (dead.exists() or exported.exists() or staged.exists())
        assert alive.exists()
        assert (tmp_path / ".mine.tmp").exists()


def linked(path: Path) -> None:
    (path.parent / "other.txt").write_text("mine")
    path.symlink_to(path.parent / "other.txt")


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def second_name(path: Path) -> None:
    (path.parent / "other.txt").write_text("mine")
    path.hardlink_to(path.parent / "other.txt")


@pytest.mark.parametrize("damage", [linked, dangling, second_name, Path.mkdir, os.mkfifo])
def test_a_lock_that_is_no_file_of_its_own_is_not_written_through(tmp_path: Path, damage: Any) -> None:
    run = tmp_path / "run"
    run.mkdir()
    damage(run / run_files.LOCK)
    with pytest.raises(GeloraError, match=r"\.lock is .*Remove it"), lock_directory(run, "it"):
        pass
    with pytest.raises(GeloraError, match=r"\.lock is .*Remove it"), wait_for_lock(run, "it"):
        pass
    assert not is_locked(run)
    assert not (run / "nowhere").exists()
    if (run / "other.txt").exists():
        assert (run / "other.txt").read_text() == "mine"


@pytest.mark.parametrize("damage", [linked, dangling, Path.mkdir, os.mkfifo])
@pytest.mark.parametrize("name", [run_files.METRICS, run_files.LOG, run_files.CONFIG, run_files.DONE, "result.json"])
def test_a_file_of_a_run_that_is_none_is_one_message_before_any_work(tmp_path: Path, name: str, damage: Any) -> None:
    damage(tmp_path / name)
    with pytest.raises(GeloraError, match=f"{name} is .*nothing was written"), lock_directory(tmp_path, "it"):
        pass
    assert (tmp_path / run_files.LOCK).read_text() == ""


@pytest.mark.parametrize("name", [run_files.ADAPTER, run_files.CHECKPOINTS, run_files.STATES])
def test_a_directory_of_a_run_may_be_no_link_or_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").write_text("kept")
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GeloraError, match=f"{name} is a symbolic link"), lock_directory(tmp_path, "it"):
        pass
    (tmp_path / name).unlink()
    (tmp_path / name).write_text("")
    with pytest.raises(GeloraError, match=f"{name} is a file"), lock_directory(tmp_path, "it"):
        pass
    assert (tmp_path / "elsewhere" / "mine").read_text() == "kept"


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


@pytest.mark.parametrize("damage", [dangling, Path.mkdir, os.mkfifo, lambda path: path.write_bytes(b"\xff\xfe")])
def test_a_done_that_is_no_text_is_one_message(tmp_path: Path, damage: Any) -> None:
    damage(tmp_path / run_files.DONE)
    with pytest.raises(GeloraError, match=r"DONE .*force=true"):
        verify_checksums(tmp_path)


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


def test_runs_are_found_whatever_lies_beside_them(tmp_path: Path) -> None:
    for name in ("b/run", "a", run_files.PROFILES + "/x", "b/run/adapter"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").write_text("")
    (tmp_path / "c" / "run.json").mkdir(parents=True)
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    assert find_runs(tmp_path) == [tmp_path / "a", tmp_path / "b" / "run", tmp_path / "c"]
