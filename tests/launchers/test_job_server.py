"""The server of a sweep's jobs and what is said of jobs and servers that end without a word."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from gelora_cli.commands.sweep_report import report_sweep
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.launchers import job_server as jobs
from gelora_cli.launchers.base import Launcher
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.launchers.job_server import JobServer
from tests.helpers.jobs import make_job

ROOT = Path(__file__).resolve().parents[2]
SERVER = """
import json, os, signal, sys, time
from dataclasses import asdict, replace
from pathlib import Path
from gelora_cli.launchers import job_server as jobs
from gelora_cli.core.codec import write_artifact
from gelora_cli.launchers.job import Outcome
from tests.helpers.manifests import manifest

def do(request):
    if "check" in request:
        if request["command"] == "raise":
            raise ValueError("not ours")
        return ["" for _ in request["check"]]
    work = request["words"][0]
    if work == "server":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    directory = Path(request["words"][1])
    directory.mkdir(parents=True, exist_ok=True)
    resumed = replace(manifest("running"), created="2020-01-01T00:00:00+00:00", pid=os.getpid())
    write_artifact(replace(resumed, host=jobs.socket.gethostname()), directory)
    if work == "raise":
        raise ValueError("not ours")
    if work.isdigit():
        os.kill(os.getpid(), int(work))
    if work == "leave":
        os._exit(130)
    return asdict(Outcome(0, str(directory), value=0.5))

jobs.HEAVY = ()
if Path(sys.argv[1]).exists():
    (Path(sys.argv[1]) / sys.argv[4]).touch()
    sys.exit(3)
time.sleep(float(sys.argv[2]))
Path(sys.argv[3]).touch()
jobs.serve(int(sys.argv[4]), int(sys.argv[5]), do)
"""


class Sweep:
    """A server that does as its jobs' words say; it can't start while `broken` is a directory, and then is `awake`."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.monkeypatch = place, monkeypatch
        self.broken, self.awake = place / "broken", place / "awake"
        (place / "server.py").write_text(SERVER)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, os.environ.get("PYTHONPATH", "")))))
        self.starts_after(0)

    def starts_after(self, seconds: float) -> None:
        command = (sys.executable, str(self.place / "server.py"), str(self.broken), str(seconds), str(self.awake))
        self.monkeypatch.setattr(jobs, "SERVER", command)

    def do(self, server: JobServer, work: str) -> Outcome:
        config = RunConfig(runs_dir=str(self.place / "runs"))
        return server.run(make_job(config=config, typed=(work, str(self.directory(work)))))

    def directory(self, work: str) -> Path:
        return self.place / "runs" / work


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    return Sweep(tmp_path, monkeypatch)


def test_a_job_that_ends_without_a_word_is_named_with_its_directory(
    sweep: Sweep, capfd: pytest.CaptureFixture[str]
) -> None:
    with JobServer() as server:
        killed, crashed = sweep.do(server, str(int(signal.SIGKILL))), sweep.do(server, str(int(signal.SIGSEGV)))
        stopped, left, raised = (sweep.do(server, work) for work in (str(int(signal.SIGTERM)), "leave", "raise"))
        done = sweep.do(server, "work")
    assert (killed.code, killed.state, killed.directory) == (1, "failed", str(sweep.directory("9")))
    assert killed.message.startswith("its process was ended by SIGKILL")
    assert (crashed.code, crashed.message) == (1, "its process was ended by SIGSEGV")
    for found in (stopped, left):
        assert (found.code, found.state) == (StoppedError.exit_code, "interrupted")
    assert (raised.code, raised.message, raised.directory) == (1, "ValueError: not ours", str(sweep.directory("raise")))
    assert "Traceback" in capfd.readouterr().err
    assert (done.state, done.value, done.directory) == ("done", 0.5, str(sweep.directory("work")))
    assert done.seconds > 0


def test_a_server_that_dies_takes_its_job_and_the_next_has_a_new_one(sweep: Sweep) -> None:
    with JobServer() as server:
        first = server.process.pid
        lost, done = sweep.do(server, "server"), sweep.do(server, "work")
        assert server.process.pid != first
        server.process.kill()
        server.process.wait()
        assert server.check([make_job()] * 3) == [""] * 3
        assert server.check([make_job(command="raise")] * 3) == ["can't be checked: ValueError: not ours"]
    assert (lost.code, done.state) == (1, "done")
    assert "SIGKILL" in lost.message


def test_a_launcher_checks_its_jobs_in_a_server_of_its_own(sweep: Sweep) -> None:
    class Bare(Launcher):
        name = "toy_bare"

        def run(self, jobs: Sequence[Job]) -> list[Outcome]:
            raise NotImplementedError

    with Bare() as launcher:
        assert launcher.check([make_job()] * 2) == ["", ""]


def test_a_server_that_cannot_start_is_one_message(sweep: Sweep) -> None:
    sweep.broken.mkdir()
    with JobServer() as server, pytest.raises(GeloraError, match="ended with exit code 3, 2 times"):
        sweep.do(server, "work")
    assert len(list(sweep.broken.iterdir())) >= 1


def test_a_signal_while_the_server_starts_ends_the_sweep_at_once(sweep: Sweep) -> None:
    sweep.starts_after(30)
    with JobServer() as server:
        os.kill(server.process.pid, signal.SIGTERM)  # as a system does that signals every process
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(StoppedError, match="before any job was started"):
            sweep.do(server, "work")
        assert server.process.poll() is None  # deaf to the first
    assert not sweep.awake.exists()
    assert not sweep.directory("work").exists()


def test_no_process_is_left(sweep: Sweep) -> None:
    with JobServer() as server:
        sweep.do(server, "work")
        pid = server.process.pid
    assert not Path(f"/proc/{pid}").exists()


def test_the_last_table_has_a_row_for_every_job(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [
        Outcome(0, "/runs/a", value=0.5, seconds=12.3),
        Outcome(0, "/runs/b", value=0.25, already_done=True),
        Outcome(2, "/runs/c", "no such\nfile", seconds=1.0),
        Outcome(130, None, "interrupted"),
    ]
    assert report_sweep(["seed=0", "seed=1", "seed=2", "seed=3", "seed=4"], outcomes) == 130
    shown = capsys.readouterr()
    rows = [re.split("  +", line) for line in shown.out.strip().splitlines()]
    assert rows == [
        ["job", "what happened", "value", "seconds", "directory or message"],
        ["seed=0", "done", "0.5000", "12", "/runs/a"],
        ["seed=1", "already done", "0.2500", "0", "/runs/b"],
        ["seed=2", "failed", "-", "1", "/runs/c: no such file"],
        ["seed=3", "interrupted", "-", "0", "interrupted"],
        ["seed=4", "not started", "-", "-", "-"],
    ]
    assert "gelora: of 5 jobs 1 failed, 1 interrupted, 1 not started;" in shown.err
