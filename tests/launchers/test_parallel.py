"""Jobs of a sweep side by side: order, output, crashes and signals, with jobs that do as their words say."""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.launchers import job_server
from gelora_cli.launchers.gpu_shares import GpuShares
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.launchers.parallel_server import ParallelServer
from tests.helpers.bench import Bench
from tests.helpers.jobs import make_job
from tests.helpers.waiting import wait_for_file

ROOT = Path(__file__).resolve().parents[2]
SERVER = """
import os, signal, sys, time
from dataclasses import asdict
from pathlib import Path
from gelora_cli.launchers import job_server as jobs
from gelora_cli.launchers.gpu_shares import GpuShares
from gelora_cli.launchers.job import Outcome

def do(request):
    place, *steps = request["words"]
    signal.alarm(300)  # a job that waits for what never comes fails its test
    for step in steps:
        name, _, rest = step.partition(":")
        if name == "say":
            for part in rest.split("/"):
                os.write(1, part.encode())
                time.sleep(0.05)
        if name == "touch":
            (Path(place) / rest).touch()
        if name == "wait":
            while not (Path(place) / rest).exists():
                time.sleep(0.02)
        if name == "kill":
            os.kill(os.getppid() if rest == "server" else os.getpid(), signal.SIGKILL)
            time.sleep(60)
        if name == "sleep":
            time.sleep(60)
        if name == "see":
            return asdict(Outcome(0, os.environ.get("CUDA_VISIBLE_DEVICES", "-")))
        if name == "threads":
            return asdict(Outcome(0, os.environ.get("OMP_NUM_THREADS", "-")))
    return asdict(Outcome(0, place, value=0.5))

jobs.HEAVY = ()
if Path(sys.argv[1]).exists():
    sys.exit(3)
jobs.serve([int(number) for number in sys.argv[2].split(",")], int(sys.argv[3]), do)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let servers do what the words of their jobs say; none can start while `broken` is there."""
    (tmp_path / "server.py").write_text(SERVER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, os.environ.get("PYTHONPATH", "")))))
    monkeypatch.setattr(job_server, "SERVER", (sys.executable, str(tmp_path / "server.py"), str(tmp_path / "broken")))
    return tmp_path


def jobs_of(place: Path, *works: str) -> list[Job]:
    config = RunConfig(runs_dir=str(place / "runs"))
    return [
        make_job(config=config, typed=(str(place), *work.split()), number=number, count=len(works))
        for number, work in enumerate(works, start=1)
    ]


def run_all(place: Path, *works: str, count: int = 2) -> list[Outcome]:
    with ParallelServer(GpuShares(count), 1) as server:
        return list(server.run_all(jobs_of(place, *works)))


def test_jobs_run_side_by_side_and_their_outcomes_come_in_order(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # Job 1 ends only after job 3, which takes the slot of job 2.
    outcomes = run_all(place, "wait:third", "touch:second", "wait:second touch:third", "touch:fourth")
    assert [outcome.state for outcome in outcomes] == ["done"] * 4
    assert all(outcome.value == 0.5 for outcome in outcomes)
    assert outcomes[0].seconds >= outcomes[2].seconds
    announced = [line for line in capfd.readouterr().err.splitlines() if line.startswith("gelora: job")]
    assert announced == [f"gelora: job {number} of 4: seed={number}" for number in (1, 2, 3, 4)]


def test_jobs_that_do_the_same_follow_each_other(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first, second, third = jobs_of(place, "wait:third", "touch:second", "touch:third")
    with ParallelServer(GpuShares(2), 1) as server:
        outcomes = list(server.run_all([first, replace(second, arguments=first.arguments), third]))
    assert [outcome.state for outcome in outcomes] == ["done"] * 3
    announced = [line for line in capfd.readouterr().err.splitlines() if line.startswith("gelora: job")]
    assert [line.split()[2] for line in announced] == ["1", "3", "2"]


def test_lines_of_jobs_are_whole_and_say_whose_they_are(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["say:a/b/c\n", "say:a/b/c\n", "say:x/y"]
    jobs = [
        make_job(config=RunConfig(), typed=(str(place), word), number=number, count=3)
        for number, word in enumerate(words, start=1)
    ]
    with ParallelServer(GpuShares(3), 1) as server:
        list(server.run_all(jobs))
    assert sorted(capfd.readouterr().out.splitlines()) == ["[1] abc", "[2] abc", "[3] xy"]


def test_a_job_that_is_killed_ends_alone(place: Path) -> None:
    outcomes = run_all(place, "kill:self", "wait:after touch:done", "touch:after")
    assert [outcome.state for outcome in outcomes] == ["failed", "done", "done"]
    assert "SIGKILL" in outcomes[0].message


def test_a_server_that_dies_takes_its_jobs_and_the_others_get_a_new_one(place: Path) -> None:
    outcomes = run_all(place, "touch:up wait:never", "wait:up kill:server", "touch:third", "touch:fourth")
    assert [outcome.state for outcome in outcomes] == ["failed", "failed", "done", "done"]
    (place / "broken").touch()
    with (
        ParallelServer(GpuShares(2), 1) as server,
        pytest.raises(GeloraError, match="2 times, before it could start one"),
    ):
        list(server.run_all(jobs_of(place, "touch:a", "touch:b")))


def test_a_signal_stops_all_and_starts_no_other(place: Path) -> None:
    def interrupt() -> None:
        for name in ("one", "two"):
            wait_for_file(place / name)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    outcomes: list[Outcome] = []
    with ParallelServer(GpuShares(2), 1) as server:
        with pytest.raises(StoppedError):
            for outcome in server.run_all(jobs_of(place, "touch:one sleep", "touch:two sleep", "touch:three")):
                outcomes.append(outcome)
        pids = [slot.answer["pid"] for slot in server._slots]
    assert [outcome.state for outcome in outcomes] == ["interrupted", "interrupted"]
    assert not (place / "three").exists()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize(("given", "processes", "threads"), [(None, 1, 2), (None, 2, 1), ("3", 1, 3)])
def test_each_job_has_its_share_of_the_cores_unless_told(
    place: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, processes: int, threads: int
) -> None:
    monkeypatch.setattr("gelora_cli.core.processes.usable_cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    with ParallelServer(GpuShares(2), processes) as server:
        (outcome,) = server.run_all(jobs_of(place, "threads"))
    assert outcome.directory == str(threads)


def test_jobs_side_by_side_see_the_gpus_of_their_own_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,5,4,3")
    shares = GpuShares(2, ("7,5", "4,3"))
    works = ["touch:one wait:two see", "wait:one touch:two see", "see"]
    with ParallelServer(shares, 2) as server:
        seen = [outcome.directory for outcome in server.run_all(jobs_of(place, *works))]
    assert seen[:2] == ["7,5", "4,3"]
    assert seen[2] in shares.visible


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["launch.parallel=2"], "launch.parallel=2 runs jobs of a sweep side by side: add -m"),
        (["-m", "launch.parallel=1,2"], "launch.parallel=1,2: it is how many jobs"),
        (["-m", "launch.parallel=null,2"], "launch.parallel=null,2: it is how many jobs"),
        (["-m", "launch.parallel=2", "launch.launcher=in_place"], "in_place runs the jobs in one process"),
        (["launch.gpus_per_run=1"], "launch.gpus_per_run=1 runs jobs of a sweep side by side: add -m"),
        (["-m", "launch.gpus_per_run=1,2"], "launch.gpus_per_run=1.0,2.0: it is how many GPUs"),
        (["-m", "seed=0,1", "launch.parallel=0"], "gelora: launch.parallel=0: accepted is a number at least 1"),
        (["-m", "seed=-1,-2", "train.epochs=0,1"], "seed=-1 train.epochs=0 (and 1 more): train.epochs=0: accepted"),
        (["-m", "seed=0,1", "launch.gpus_per_run=1"], "launch.gpus_per_run=1: this machine shows no GPU"),
    ],
)
def test_what_does_not_fit_is_one_message(
    bench: Bench, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(bench.arguments("task=cola", *words)) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not bench.root.exists()
