"""One process at a time in a directory, and what is checked when it begins."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.core import locks, run_files
from gelora_cli.core.codec import write_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.locks import is_locked, lock_directory, wait_for_file, wait_for_lock
from gelora_cli.core.status import run_status
from tests.helpers.manifests import manifest
from tests.helpers.odd_files import dangling, linked, second_name

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


def test_a_moment_of_someone_elses_lock_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / run_files.LOCK).write_text("")
    looking = (tmp_path / run_files.LOCK).open()  # as `is_locked` does
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.1, looking.close).start()
    with lock_directory(tmp_path, "it"):
        assert is_locked(tmp_path)


def test_a_file_system_without_locks_is_named_instead_of_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    run = tmp_path / "it"
    run.mkdir()
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with (
        pytest.raises(GeloraError, match=r"it .*No locks available.*runs_dir=DIR"),
        lock_directory(run, "it"),
    ):
        pass
    assert not is_locked(run)


def test_a_file_is_locked_beside_it_and_no_lock_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, lock = tmp_path / "a.zst", tmp_path / ".a.zst.lock"
    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.01)
    order = []

    def work(name: str) -> None:
        with wait_for_file(file, "the archive", "output=FILE"):
            order.append(f"{name} begins")
            assert lock.read_text().startswith(f"process {os.getpid()} ")
            time.sleep(0.05)
            order.append(f"{name} ends")

    workers = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [line.split()[1] for line in order] == ["begins", "ends"] * 4
    assert not [*tmp_path.iterdir()]

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    message = r"a\.zst can't be locked: No locks available.*output=FILE"
    with pytest.raises(GeloraError, match=message), wait_for_file(file, "the archive", "output=FILE"):
        pass


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
