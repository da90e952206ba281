"""Launchers by name, and what a sweep asks of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.commands.job_actions import CommandActions
from gelora_cli.commands.main import command_line
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import write_artifact
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.registries import COMMANDS, LAUNCHERS
from gelora_cli.launchers import run_outcome
from gelora_cli.launchers.base import DEFAULT, Launcher
from gelora_cli.launchers.job import Job, Outcome
from tests.helpers.bench import Bench
from tests.helpers.jobs import NoActions, make_job
from tests.helpers.manifests import manifest
from tests.helpers.registries import forget_entries_afterwards
from tests.helpers.written_runs import write_run


class CodeActions(NoActions):
    """The first job is done, the second fails, the third is interrupted."""

    def find_problem(self, job: Job) -> str:
        return "" if job.number == 1 else f"no data for {job.label}"

    def run(self, job: Job) -> Outcome:
        return Outcome((0, 1, StoppedError.exit_code)[job.number - 1], value=0.5)


def test_the_default_is_there_and_every_launcher_has_its_name() -> None:
    assert DEFAULT in LAUNCHERS
    assert {name: LAUNCHERS.get(name).name for name in ("local", "in_place")} == {
        "local": "local",
        "in_place": "in_place",
    }


def test_in_place_every_job_runs_here_until_one_is_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [make_job(number=number, count=4, actions=CodeActions()) for number in (1, 2, 3, 4)]
    with LAUNCHERS.get("in_place") as launcher:
        assert launcher.check(jobs[:2]) == ["", "no data for seed=2"]
        outcomes = list(launcher.run(jobs))
    assert [outcome.state for outcome in outcomes] == ["done", "failed", "interrupted"]
    assert capsys.readouterr().err.splitlines()[0] == "gelora: job 1 of 4: seed=1"


def test_a_job_is_a_command_line_of_its_own() -> None:
    job = make_job(number=7)
    assert job.command_line()[1:] == ["-m", "gelora_cli", "run", "seed=7"]


def test_a_launcher_that_cannot_run_jobs_is_refused() -> None:
    class Nothing(Launcher):
        name = "toy_nothing"

    with pytest.raises(GeloraError, match="lacks run"):
        LAUNCHERS.register(Nothing)  # type: ignore[type-abstract]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["launch.launcher=in_place"], "launch.launcher=in_place runs the jobs of a sweep: add -m, or leave it out"),
        (["launch=in_place"], "launch.launcher=in_place runs the jobs of a sweep: add -m, or leave it out"),
        (["launch.launcher=in_plac"], "launch.launcher=in_plac: ... did you mean in_place?"),
        (["-m", "launch.launcher=local,in_place"], "one launcher runs all jobs"),
    ],
)
def test_a_launcher_that_does_not_fit_is_one_message(
    bench: Bench, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(bench.arguments("task=cola", *words)) == 2
    said = capsys.readouterr().err
    assert all(part in said for part in message.split(" ... "))
    assert not bench.root.exists()


class Elsewhere(Launcher):
    """Sends jobs to machines of which nothing is known here."""

    name = "toy_elsewhere"
    runs_here = False

    def check(self, jobs: Sequence[Job]) -> list[str]:
        return [job.actions.find_problem(job) for job in jobs]

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        for job in jobs:
            places = job.actions.run_directories(job)
            places[-1].mkdir(parents=True)
            if job.number == 2:  # ran on a machine without bf16
                write_artifact(manifest("failed"), places[-1])
            else:  # died before it wrote anything; an attempt before this sweep did
                before = replace(manifest("failed"), updated="2020-01-01T00:00:00+00:00", error="an older fault")
                write_artifact(before, places[-1])
            yield job.actions.read_outcome(job, 1, 1.0)


def test_jobs_that_run_elsewhere_need_no_devices_here(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forget_entries_afterwards(monkeypatch, LAUNCHERS)
    LAUNCHERS.register(Elsewhere)
    many = ["task=cola", "launch.processes=64", "train.batch_size=64", "method=lora", "-m", "seed=0"]
    assert command_line(bench.arguments(*many, "launch.launcher=in_place")) == 2
    assert "launch.processes=64: this machine has" in capsys.readouterr().err
    assert command_line(bench.arguments(*many, "launch.launcher=toy_elsewhere")) == 1
    failed = " ".join(capsys.readouterr().out.split())  # checked here for nothing, refused where it runs
    assert "it wrote to no run directory" in failed


def test_what_ran_elsewhere_is_found_in_the_precision_of_its_machine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A precision of auto gives a run its directory only where the run computes.
    forget_entries_afterwards(monkeypatch, LAUNCHERS)
    LAUNCHERS.register(Elsewhere)
    words = ["-m", "task=cola", "seed=0,1", "method=lora", "precision=auto"]
    monkeypatch.setattr("gelora_cli.core.devices._cpu_has_bf16", lambda: True)
    assert command_line(bench.arguments(*words, "launch.launcher=toy_elsewhere")) == 1
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("seed=")]
    assert "it wrote to no run directory" in rows[0]
    assert rows[1].endswith("before the run was done")


def test_a_run_that_another_machine_has_just_finished_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "lora" / "s0-0.1"
    monkeypatch.setattr(CommandActions, "run_directories", lambda self, job: [place])
    monkeypatch.setattr(
        "gelora_cli.launchers.run_outcome.time.sleep", lambda seconds: write_run(tmp_path, "lora", 0, 0.5)
    )
    actions = CommandActions(COMMANDS.get("run"), begun="2020-01-01T00:00:00+00:00")
    finished = Outcome(0, str(place), value=0.5, seconds=3.0)
    assert actions.read_outcome(make_job(), 0, 3.0) == finished
    late = (place / RunResult.FILE).rename(tmp_path / "late")  # DONE is seen before it
    monkeypatch.setattr("gelora_cli.launchers.run_outcome.time.sleep", lambda _: late.rename(place / RunResult.FILE))
    assert actions.read_outcome(make_job(), 0, 3.0) == finished
    (place / "DONE").unlink()
    monkeypatch.setattr(run_outcome, "FILES_SECONDS", 0.0)
    unseen = actions.read_outcome(make_job(), 0, 3.0)
    assert unseen.state == "failed" and f"no finished run is seen in {place}. If" in unseen.message


def test_an_older_run_in_another_precision_is_no_outcome_of_a_job_whose_files_are_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, late = write_run(tmp_path, "lora", 0, 0.4), write_run(tmp_path, "lora", 1, 0.5)
    old_manifest = replace(manifest("done"), updated="2020-01-01T00:00:00+00:00")
    write_artifact(old_manifest, older)
    monkeypatch.setattr(CommandActions, "run_directories", lambda self, job: [late, older])
    actions = CommandActions(COMMANDS.get("run"), begun="2021-01-01T00:00:00+00:00")

    def read_outcome(job: Job, *, waits: bool, shown: Path | None = None) -> tuple[str, float | None]:
        """Read the outcome of the job, and show a file once it is waited for, after which nothing else is."""
        pauses: list[bool] = []

        def keep_waiting() -> bool:
            pauses.append(True)
            if shown is not None:
                shown.rename(shown.with_name("DONE"))
            return shown is not None and len(pauses) == 1

        outcome = actions.read_outcome(job, 0, 3.0, keep_waiting)
        assert bool(pauses) == waits
        return outcome.state, outcome.value

    monkeypatch.setattr(run_outcome, "POLL_SECONDS", 0.0)
    hidden = (late / "DONE").rename(late / "hidden")
    assert read_outcome(make_job(), waits=True, shown=hidden) == ("done", 0.5)
    write_artifact(old_manifest, late)
    assert read_outcome(make_job(), waits=False)[0] == "already done"  # both were
    forced = make_job(config=RunConfig(force=True))
    assert read_outcome(forced, waits=True)[0] == "already done"  # the clock of the other machine may be wrong
    (late / "DONE").unlink()
    assert read_outcome(make_job(), waits=True) == ("already done", 0.4)  # the job may have resumed the other
    late.rename(tmp_path / "elsewhere")
    assert read_outcome(make_job(), waits=False) == ("already done", 0.4)  # it began no other


@pytest.mark.parametrize(
    ("outcomes", "code", "message"),
    [
        (None, 2, "launcher toy_odd: run() returned None; accepted: an Outcome for each job"),
        ([Outcome(0), 0], 2, "launcher toy_odd: run() gave 0; accepted: an Outcome for each job"),
        ([Outcome(0)] * 3, 2, "launcher toy_odd: run() gave more than 2 outcomes"),
        ([Outcome(0), ZeroDivisionError("by queue")], 1, "ZeroDivisionError: by queue"),
    ],
)
def test_a_launcher_that_fails_loses_no_outcome_before(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcomes: list[object] | None,
    code: int,
    message: str,
) -> None:
    class Odd(Launcher):
        name = "toy_odd"

        def check(self, jobs: Sequence[Job]) -> list[str]:
            return [""]

        def run(self, jobs: Sequence[Job]) -> Any:
            return None if outcomes is None else self.each()

        def each(self) -> Iterator[object]:
            for outcome in outcomes or ():
                if isinstance(outcome, Exception):
                    raise outcome
                yield outcome

    forget_entries_afterwards(monkeypatch, LAUNCHERS)
    LAUNCHERS.register(Odd)
    assert command_line(bench.arguments("task=cola", "-m", "seed=0,1", "launch.launcher=toy_odd")) == code
    printed = capsys.readouterr()
    assert message in printed.err
    done = [line for line in printed.out.splitlines() if " done " in line]
    assert len(done) == (0 if outcomes is None else min(2, sum(isinstance(item, Outcome) for item in outcomes)))
