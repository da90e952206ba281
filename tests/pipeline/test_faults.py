"""A short version of the fault test, signals, and workers that die; the long one is `make test-faults`."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.core.status import run_status
from tests.helpers.faults import (
    EVERY_STEPS,
    Fault,
    Place,
    all_faults,
    children,
    directories,
    last_whole,
    left_over,
    make_place,
    only,
    reference_run,
    start,
    text_of,
    try_fault,
)
from tests.helpers.faults import difference as what_differs
from tests.helpers.waiting import wait_until
from tests.helpers.warm import WARM


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(tmp_path_factory.mktemp("faults"), checkpoints=True)


def whole_run(place: Place, fault: Fault) -> Path:
    """Make the reference run in this process: one process fewer than the long test starts."""
    runs = place.work / "whole" / fault.run
    assert command_line(arguments(place, fault, runs)) == 0
    return reference_run(place, fault)


def arguments(place: Place, fault: Fault, runs: Path) -> list[str]:
    """Return the command's words behind `python -m gelora_cli`."""
    return place.command(fault, runs)[3:]


def give_again(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Give a command again in a process of its own that is warm; the one that is killed is started anew."""
    return WARM.run_gelora(*command[3:])


def test_the_faults_of_the_long_test() -> None:
    faults = list(all_faults())
    assert len(faults) == len(set(faults)) >= 40
    assert {fault.method for fault in faults} == {"gelora", "adalora", "sora", "full"}
    assert {(fault.processes, fault.phase) for fault in faults} >= {
        (1, "profile"),
        (2, "checkpoint"),
        (2, "evaluation"),
    }


@pytest.mark.parametrize(
    "fault",
    [
        Fault("cola", "adalora", 1, "training", 0),
        pytest.param(Fault("squad_v2", "sora", 1, "checkpoint", 0), marks=pytest.mark.slow),
        # Of two processes the default suite kills a worker, below.
        pytest.param(Fault("cola", "sora", 2, "evaluation", 0), marks=[pytest.mark.slow, pytest.mark.distributed]),
    ],
)
def test_a_killed_run_goes_on_to_the_same_result(place: Place, fault: Fault) -> None:
    whole_run(place, fault)
    row = try_fault(place, fault, give_again)
    assert row.passed, row
    assert row.resumed >= row.checkpoint > 0


@pytest.mark.slow
def test_without_checkpoints_nothing_is_resumed(tmp_path: Path) -> None:
    place, fault = make_place(tmp_path, checkpoints=False), Fault("cola", "gelora", 1, "training")
    whole_run(place, fault)
    row = try_fault(place, fault, give_again)
    assert row.logged > EVERY_STEPS
    assert row.equal
    assert row.checkpoint == row.resumed == 0
    assert not row.passed


def wait_until_training(place: Place, fault: Fault, runs: Path) -> subprocess.Popen[bytes]:
    process = start(place.command(fault, runs))
    wait_until(lambda: last_whole(runs) > 0, "checkpoint", process)
    return process


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize(
    ("method", "processes", "number"), [("adalora", 1, signal.SIGUSR1), ("sora", 2, signal.SIGTERM)]
)
def test_a_signal_ends_a_run_with_a_checkpoint(
    place: Place, tmp_path: Path, method: str, processes: int, number: signal.Signals
) -> None:
    fault = Fault("cola", method, processes, "training", 0)
    reference = whole_run(place, fault)
    process = wait_until_training(place, fault, tmp_path)
    process.send_signal(number)
    assert process.wait(timeout=60) == 130
    assert left_over(tmp_path) == 0
    assert run_status(only(tmp_path)) == "interrupted"
    step = last_whole(tmp_path)
    assert step > 0
    assert command_line(arguments(place, fault, tmp_path)) == 0
    assert f"resumed from the checkpoint at step {step} " in text_of(tmp_path, "log.txt")
    assert what_differs(reference, only(tmp_path)) == ""


@pytest.mark.distributed
def test_a_worker_that_dies_takes_the_others_down_is_named_and_the_run_goes_on(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = Fault("cola", "sora", 2, "training", 0)
    reference = whole_run(place, fault)
    command = place.command(fault, tmp_path)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: last_whole(tmp_path) > 0, "checkpoint", process)
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "SIGKILL" in message.splitlines()[-1]
    assert left_over(tmp_path) == 0
    assert run_status(only(tmp_path)) == "failed"
    step = last_whole(tmp_path)
    assert step > 0
    capsys.readouterr()
    assert command_line(arguments(place, Fault("cola", "sora", 1, "training", 0), tmp_path)) == 2
    assert f"Give launch.processes=2, or delete {only(tmp_path) / 'checkpoints'} to start" in capsys.readouterr().err
    assert len(directories(tmp_path)) == 1
    done = give_again(command)
    assert done.returncode == 0, done.stderr
    assert f"resumed from the checkpoint at step {step} " in text_of(tmp_path, "log.txt")
    assert what_differs(reference, only(tmp_path)) == ""


def test_a_sweep_stops_at_a_signal_and_goes_on(place: Place, tmp_path: Path) -> None:
    command = [*place.command(Fault("cola", "gelora", 1, "training", 0), tmp_path), "-m", "seed=0,1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: last_whole(tmp_path) > 0, "checkpoint", process)
    process.send_signal(signal.SIGTERM)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "gelora: of 2 jobs 1 interrupted, 1 not started;" in message
    assert [run_status(path) for path in directories(tmp_path)] == ["interrupted"]
    done = give_again(command)
    assert done.returncode == 0, done.stderr
    assert "resumed from the checkpoint at step" in done.stderr
    assert [run_status(path) for path in directories(tmp_path)] == ["done", "done"]
    pids = {(path / "run.json").read_text().split('"pid": ')[1].split(",")[0] for path in directories(tmp_path)}
    assert len(pids) == 2
