"""Jobs as tasks of Ray, with a Ray that runs them in this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.commands.job_actions import CommandActions
from gelora_cli.config.schema import LaunchConfig, RunConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS, LAUNCHERS
from gelora_cli.launchers import run_outcome
from gelora_cli.launchers.base import Launcher
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.launchers.ray_job import JobKilledError, run_command
from tests.helpers.fake_ray import FakeRay, RayError, Reference, install
from tests.helpers.jobs import NoActions, make_job
from tests.helpers.waiting import wait_for_file, wait_for_text, wait_until


class ReadActions(NoActions):
    def read_outcome(
        self, job: Job, code: int, seconds: float, keep_waiting: Callable[[], bool] | None = None
    ) -> Outcome:
        return Outcome(code, f"/runs/{job.number}", seconds=seconds)


@dataclass
class Clock:
    """Stands for the module `time`: no pause takes any, and each pause calls `pause`."""

    pause: Callable[[], None] = lambda: None
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pause()


class InTurn(FakeRay):
    """Tasks end one by one, in the order in which they were sent."""

    def wait(
        self, references: Sequence[Reference], *, num_returns: int, timeout: float
    ) -> tuple[list[Reference], list[Reference]]:
        ended, waiting = super().wait(references[::-1], num_returns=num_returns, timeout=timeout)
        return ended, waiting[::-1]


def jobs_of(count: int, *, processes: int = 1, **settings: Any) -> list[Job]:
    launch = LaunchConfig.of("ray", **settings)
    config = RunConfig(launch=LaunchConfig(processes=processes))
    jobs = [
        make_job(number=number, count=count, config=config, actions=ReadActions()) for number in range(1, count + 1)
    ]
    return [replace(job, launch=launch) for job in jobs]


def check(monkeypatch: pytest.MonkeyPatch, jobs: list[Job]) -> None:
    monkeypatch.setattr(Launcher, "check", lambda self, jobs: [""] * len(jobs))
    with LAUNCHERS.get("ray") as launcher:
        launcher.check(jobs)


def test_only_texts_travel_and_outcomes_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    fake = install(monkeypatch, FakeRay(lambda arguments, *_: (int(arguments[-1][-1]) - 1, 2.0)))
    with LAUNCHERS.get("ray") as launcher:
        outcomes = list(launcher.run(jobs_of(2, cpus_per_run=2, retries=5)))
    assert [(outcome.code, outcome.directory) for outcome in outcomes] == [(0, "/runs/1"), (1, "/runs/2")]
    arguments, directory, variables = fake.calls[1]
    assert arguments == ["-m", "gelora_cli", "run", "seed=2"]
    assert (directory, variables) == (str(Path.cwd()), {"OMP_NUM_THREADS": "3"})
    assert {**fake.options_[0], "retry_exceptions": None} == {
        **{"num_cpus": 2, "num_gpus": 0.0, "name": "job 1", "max_retries": 5, "retry_exceptions": None}
    }
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert fake.down and "runtime_env" not in fake.inits[0]


def test_jobs_that_do_the_same_share_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(monkeypatch, FakeRay(lambda *_: (0, 2.0)))
    first, second, third = jobs_of(3)
    with LAUNCHERS.get("ray") as launcher:
        outcomes = list(launcher.run([first, replace(second, arguments=first.arguments), third]))
    assert [outcome.directory for outcome in outcomes] == ["/runs/1", "/runs/2", "/runs/3"]
    assert [call[0][-1] for call in fake.calls] == ["seed=1", "seed=3"]


def test_a_job_whose_worker_is_lost_too_often_is_failed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(arguments: list[str], *_: object) -> tuple[int, float]:
        if arguments[-1] == "seed=2":
            raise RayError("worker died\nmuch more")
        return 0, 1.0

    install(monkeypatch, FakeRay(answer))
    with LAUNCHERS.get("ray") as launcher:
        outcomes = list(launcher.run(jobs_of(3)))
    assert [outcome.state for outcome in outcomes] == ["done", "failed", "done"]
    assert outcomes[1].message == "Ray gave it up: worker died"


def test_a_signal_cancels_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_: object) -> tuple[int, float]:
        os.kill(os.getpid(), signal.SIGINT)
        return 130, 1.0

    install(monkeypatch, FakeRay(answer))
    with LAUNCHERS.get("ray") as launcher:
        outcomes = list(launcher.run(jobs_of(3)))
    # The last one ran alone here; those before it were cancelled before they had begun.
    assert [outcome.state for outcome in outcomes] == ["interrupted"] * 3
    assert [bool(outcome.directory) for outcome in outcomes] == [False, False, True]


def unseen_outcomes(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> list[Outcome]:
    """Run three jobs that end without an error, and whose files are never seen here."""
    install(monkeypatch, InTurn(lambda *_: (0, 2.0)))
    monkeypatch.setattr(CommandActions, "run_directories", lambda self, job: [Path(f"/unseen/{job.number}")])
    for module in ("ray", "run_outcome"):
        monkeypatch.setattr(f"gelora_cli.launchers.{module}.time", clock)
    actions = CommandActions(COMMANDS.get("run"), begun="2020-01-01T00:00:00+00:00")
    with LAUNCHERS.get("ray") as launcher:
        return list(launcher.run([replace(job, actions=actions) for job in jobs_of(3)]))


def test_unseen_files_of_several_jobs_are_waited_for_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    outcomes = unseen_outcomes(monkeypatch, clock)
    assert [outcome.state for outcome in outcomes] == ["failed"] * 3
    assert run_outcome.FILES_SECONDS <= clock.now <= run_outcome.FILES_SECONDS + 5


def test_a_signal_ends_the_wait_for_unseen_files(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(pause=lambda: os.kill(os.getpid(), signal.SIGINT))
    outcomes = unseen_outcomes(monkeypatch, clock)
    assert [outcome.state for outcome in outcomes] == ["interrupted"] * 3
    assert outcomes[0].message == "it ended without an error; interrupted before its finished run was seen here"
    assert clock.now < 2


@pytest.mark.parametrize(
    ("processes", "settings", "resources", "message"),
    [
        (1, {"parallel": 2}, {"CPU": 2.0}, "launch.parallel=2: with launch=ray the cores and GPUs"),
        (1, {"cpus_per_run": 4}, {"CPU": 2.0}, "launch.cpus_per_run=4 .* Its nodes have: 2 CPU and 0 GPU"),
        (1, {"gpus_per_run": 1.0}, {"CPU": 2.0}, "launch.gpus_per_run=1: no node"),
        (2, {"gpus_per_run": 1.0}, {"CPU": 2.0, "GPU": 1.0}, "launch.processes=2: each process needs a GPU"),
        (2, {}, {"CPU": 2.0, "GPU": 1.0}, "launch.gpus_per_run=2: no node"),  # a GPU for each process by default
        (1, {"address": "nowhere:1"}, {"CPU": 2.0}, "launch.address=nowhere:1: no Ray cluster answers.*nobody there"),
        (2, {}, {"CPU": 2.0}, ""),
        (1, {"gpus_per_run": 0.5}, {"CPU": 2.0, "GPU": 1.0}, ""),
    ],
)
def test_what_no_node_has_room_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, processes: int, settings: dict[str, Any], resources: dict[str, float], message: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    install(monkeypatch, FakeRay(lambda *_: None, [{"Alive": True, "Resources": resources}]))
    jobs = jobs_of(1, processes=processes, **settings)
    if not message:
        check(monkeypatch, jobs)
        return
    with pytest.raises(GeloraError, match=message):
        check(monkeypatch, jobs)


def test_where_ray_is_not_installed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(GeloraError, match=r"launch=ray needs the package ray: pip install .*\[ray\]"):
        check(monkeypatch, jobs_of(1))


def test_a_command_runs_in_the_directory_of_the_sweep(tmp_path: Path) -> None:
    code = "import os, sys; open('seen', 'w').write(os.environ['A']); sys.exit(3)"
    assert run_command(["-c", code], str(tmp_path), {"A": "b"})[0] == 3
    assert (tmp_path / "seen").read_text() == "b"


def test_a_command_that_is_killed_is_started_again_by_ray() -> None:
    with pytest.raises(JobKilledError):
        run_command(["-c", "import os; os.kill(os.getpid(), 9)"], ".", {})


def test_a_cancelled_command_may_stop_by_itself(tmp_path: Path) -> None:
    code = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(130)); open('up', 'w'); time.sleep(60)"

    def cancel() -> None:
        wait_for_file(tmp_path / "up")
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=cancel, daemon=True).start()
    assert run_command(["-c", code], str(tmp_path), {})[0] == 130


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends it")
def test_a_command_ends_with_its_worker(tmp_path: Path) -> None:
    job = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60); open('awake', 'w')"
    worker = (
        f"from gelora_cli.launchers.ray_job import run_command; run_command(['-c', {job!r}], {str(tmp_path)!r}, {{}})"
    )
    process = subprocess.Popen([sys.executable, "-c", worker])
    pid = wait_for_text(tmp_path / "pid")
    process.kill()
    process.wait()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "end of the command")
    assert not (tmp_path / "awake").exists()
