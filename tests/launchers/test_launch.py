"""Workers that fail, hang, are stopped or killed: none is left, and the one true cause is the message."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gelora_cli.core.errors import GeloraError, RunError, StoppedError
from gelora_cli.core.processes import describe_exit_status
from gelora_cli.launchers import workers as launch
from gelora_cli.launchers.failure import Failure, WorkerError, root_cause
from gelora_cli.launchers.workers import run_workers
from tests.helpers.waiting import wait_for_text

KILLED = Failure(1, 10.0, "", describe_exit_status(-signal.SIGKILL))
LOST = Failure(0, 9.9, "RuntimeError", "failed: RuntimeError: [gloo] Connection closed by peer")
STOPPED = Failure(2, 11.0, "StoppedError", "interrupted by SIGTERM")
WRONG = Failure(3, 12.0, "GeloraError", "no such split")


@pytest.mark.parametrize(
    ("failures", "kind", "message"),
    [
        ([LOST, KILLED], RunError, "worker 1 was ended by SIGKILL, which the system sends when memory runs out"),
        ([STOPPED, LOST], RunError, "worker 0 failed: RuntimeError"),
        ([STOPPED, KILLED, LOST], RunError, "train.micro_batch_size"),
        ([STOPPED, WRONG], GeloraError, "no such split"),
        ([STOPPED], StoppedError, "interrupted by SIGTERM"),
    ],
)
def test_the_cause_is_what_failed_by_itself(failures: list[Failure], kind: type[GeloraError], message: str) -> None:
    found = root_cause(failures, signalled=10.5).error
    assert type(found) is kind
    assert message in str(found)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, "ended with exit code 3"),
        (-signal.SIGSEGV, "was ended by SIGSEGV"),
        (-signal.SIGRTMIN - 1, f"was ended by signal {signal.SIGRTMIN + 1}"),  # a real-time signal without a name
    ],
)
def test_how_a_process_ended_is_said(code: int, words: str) -> None:
    assert describe_exit_status(code) == words


@pytest.mark.parametrize("lives", [True, False])
def test_a_process_ends_where_its_parent_is_another(lives: bool) -> None:
    code = (
        "import sys; from gelora_cli.core.processes import die_with_parent; "
        "die_with_parent(int(sys.argv[1])); print('on')"
    )
    parent = os.getpid() if lives else os.getppid()
    done = subprocess.run([sys.executable, "-c", code, str(parent)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (("on\n", 0) if lives else ("", 1))


WORKER = """
import os, signal, sys, time
from pathlib import Path
from gelora_cli.core.errors import RunError, StoppedError
from gelora_cli.launchers.worker_process import worker
from gelora_cli.launchers.signals import handle_signals

def main(arguments):
    signal.alarm(300)  # a worker that is never stopped fails its test
    with handle_signals() as stop, stop.defer_interrupts():
        place, rank = Path(arguments[0]), os.environ["RANK"]
        (place / rank).write_text(str(os.getpid()))
        while len(list(place.glob("[01]"))) < 2:
            time.sleep(0.01)
        {work}

worker(main, sys.argv[1:])
"""
HANGS = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); time.sleep(60); (place / 'awake').touch()"
ENDS = "while not stop.requested: time.sleep(0.01)"


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what starts two processes that do what is given; the directory holds their pids."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(launch, "WORKER_MODULE", "made_worker")
    monkeypatch.setattr(launch, "CRASH_SECONDS", 0.5)

    def start(work: str) -> None:
        (tmp_path / "made_worker.py").write_text(WORKER.replace("{work}", work))
        run_workers([str(tmp_path)], 2)

    return start


def pid_of(place: Path, rank: int) -> int:
    return int(wait_for_text(place / str(rank)))


def none_is_left(place: Path) -> bool:
    return not [path for rank in "01" if (path := Path("/proc") / (place / rank).read_text()).exists()]


def later(place: Path, work: Callable[[], None]) -> None:
    """Do some work shortly after both workers are up."""

    def wait_and_work() -> None:
        for rank in range(2):
            pid_of(place, rank)
        time.sleep(0.3)
        work()

    threading.Thread(target=wait_and_work, daemon=True).start()


def test_where_one_is_killed_one_that_hangs_is_gone_soon(workers: Callable[[str], None], tmp_path: Path) -> None:
    later(tmp_path, lambda: os.kill(pid_of(tmp_path, 1), signal.SIGKILL))
    with pytest.raises(RunError, match="worker 1 was ended by SIGKILL"):
        workers(HANGS)
    assert none_is_left(tmp_path)
    assert not (tmp_path / "awake").exists()


def test_the_message_of_a_worker_comes_back(workers: Callable[[str], None], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^the loss is nan$"):
        workers("if rank == '1': raise RunError('the loss is nan')\n        " + ENDS)
    assert none_is_left(tmp_path)


def test_an_unexpected_error_is_one_message_and_its_traceback_is_the_cause(
    workers: Callable[[str], None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match=r"^worker 1 failed: KeyError: 'no'\. .*debug=true") as caught:
        workers("if rank == '1': {}['no']\n        " + ENDS)
    assert isinstance(caught.value.__cause__, WorkerError)
    assert "made_worker.py" in str(caught.value.__cause__)
    assert "Traceback" not in capfd.readouterr().err
    assert none_is_left(tmp_path)


def test_workers_that_hear_nothing_yet_are_stopped_too(workers: Callable[[str], None], tmp_path: Path) -> None:
    later(tmp_path, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(StoppedError, match="interrupted by SIGINT"):
        workers("signal.signal(signal.SIGTERM, signal.SIG_DFL); time.sleep(60)")
    assert none_is_left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT])
def test_a_signal_reaches_all_workers(
    workers: Callable[[str], None], tmp_path: Path, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    later(tmp_path, lambda: os.kill(os.getpid(), number))
    with pytest.raises(StoppedError, match=f"interrupted by {number.name}"):
        workers(ENDS + "\n        if rank == '0': raise RuntimeError('Connection closed by peer')")
    assert none_is_left(tmp_path)
    assert capfd.readouterr().err.count("stopping after this step") == 1


def test_one_that_ends_as_asked_leaves_the_others_their_time(workers: Callable[[str], None], tmp_path: Path) -> None:
    later(tmp_path, lambda: os.kill(os.getpid(), signal.SIGTERM))
    saves = "if rank == '0': time.sleep(1.5); (place / 'saved').touch()"  # longer than CRASH_SECONDS here
    with pytest.raises(StoppedError, match="interrupted at step 3"):
        workers(ENDS + f"\n        {saves}\n        raise StoppedError('interrupted at step 3')")
    assert (tmp_path / "saved").exists()


def test_a_run_that_ends_in_spite_of_a_signal_is_done(workers: Callable[[str], None], tmp_path: Path) -> None:
    later(tmp_path, lambda: os.kill(os.getpid(), signal.SIGTERM))
    workers(ENDS)
    assert none_is_left(tmp_path)
