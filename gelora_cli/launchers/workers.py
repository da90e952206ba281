"""From one frozen configuration to N worker processes, and back to one true error.

The workers meet at a store that this process holds, as torch's own launcher does it. It is not that launcher, since a
crash there leaves the other workers 30 seconds, whatever is set.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from gelora_cli.core.errors import GeloraError, RunError, StoppedError
from gelora_cli.core.processes import describe_exit_status, die_with_parent
from gelora_cli.launchers.signals import WORKER_OF, SignalHandler, handle_signals, stopped_by

T = TypeVar("T")
WORKER_MODULE = "gelora_cli.pipeline.worker"
REPORT_TO = "GELORA_REPORT_TO"
STOP_SECONDS = 120.0  # for a last checkpoint, once the run is asked to stop
CRASH_SECONDS = 10.0  # for the others, once a worker has ended badly
POLL_SECONDS = 0.05
MOST_CHARACTERS = 8_000  # of a worker's error: it fits a pipe that is read when the worker has ended
WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
LAUNCHER_VARIABLES = (
    *WORLD_SIZES,
    *("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK"),
    *("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    *("MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE", "GROUP_RANK", "ROLE_RANK", "ROLE_WORLD_SIZE"),
)
"""What torch and accelerate read of the place of a process among several."""
LOST_PEER = ("connection closed", "connection reset", "connection refused", "broken pipe", "gloo", "nccl", "timed out")


@dataclass(frozen=True)
class Failure:
    """How a worker failed: when (by the system's monotonic clock), by what kind of error if it said so, its message."""

    rank: int
    time: float
    kind: str
    message: str

    @property
    def lost_peer(self) -> bool:
        """Whether it only noticed that another worker was gone."""
        return _lost_peer(self.message)

    def follows(self, signalled: float) -> bool:
        """Whether it ended as it was asked to then."""
        return self.time > signalled and self.kind in ("", StoppedError.__name__)

    @property
    def error(self) -> GeloraError:
        """The same as the error that the run ends with."""
        for kind in (StoppedError, RunError, GeloraError):
            if self.kind == kind.__name__:
                return kind(self.message)
        return RunError(f"worker {self.rank} {self.message}")


def inside_workers() -> bool:
    """Whether an outer launcher (torchrun, a cluster's) already started this process as one of several."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"))


def drop_leftover_launcher() -> None:
    """Forget variables of launchers that others left: they would make accelerate wait for processes that are not there.

    Several processes are led where RANK, WORLD_SIZE and MASTER_ADDR say so and WORLD_SIZE is not 1. Everything that
    accelerate reads of its own variables is chosen by gelora itself.

    Raises:
        GeloraError: a launcher leads, but one of its numbers is none.
    """
    for name in [name for name in os.environ if name.startswith(("ACCELERATE_", "FSDP_", "MEGATRON_LM_"))]:
        del os.environ[name]
    led = inside_workers() and os.environ["WORLD_SIZE"].strip() != "1"
    if led:
        _check_numbers()
        return
    left = {name: os.environ.pop(name) for name in LAUNCHER_VARIABLES if name in os.environ}
    if any(left.get(name, "1").strip() != "1" for name in WORLD_SIZES):
        names = ", ".join(left)
        print(f"gelora: ignored {names} of the environment: without MASTER_ADDR no launcher leads", file=sys.stderr)


def _check_numbers() -> None:
    """Refuse numbers of an outer launcher that are none, or a rank outside the world.

    Raises:
        GeloraError: with the variable to unset.
    """
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"):
        value = os.environ.get(name, "0")
        most = int(os.environ["WORLD_SIZE"]) - 1 if name in ("RANK", "LOCAL_RANK") else math.inf
        if not value.strip().isdecimal() or int(value) > most:
            raise GeloraError(
                f"{name}={value} in the environment is not what a launcher (torchrun) sets; if none leads here: unset "
                "RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR"
            )


def run_on_rank0(work: Callable[[], T], follow: Callable[[list[str]], None]) -> T | None:
    """Where an outer launcher started several processes, the first one does `work`, alone up to what is for all.

    The others `follow` with the arguments that `broadcast_command` gives them. They end, with None, when the first
    one ends.
    """
    if os.environ["RANK"] != "0":
        while (arguments := _broadcast(None)) is not None:
            follow(arguments)
        return None
    try:
        found = work()
    except GeloraError:
        if not _Followers.at_work:
            _broadcast(None)
        raise
    _broadcast(None)
    return found


@contextlib.contextmanager
def broadcast_command(arguments: list[str]) -> Iterator[None]:
    """Have the processes that follow do their part of what is done here; where that fails, each ends by itself."""
    _broadcast(arguments)
    _Followers.at_work = True
    yield
    _Followers.at_work = False


class _Followers:
    """Whether the processes that follow this one are at work, and can't be told anything."""

    at_work = False


def _broadcast(arguments: list[str] | None) -> list[str] | None:
    """What the first process says, on every process."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState(cpu=not torch.cuda.is_available())
    said: list[str] | None = broadcast_object_list([arguments])[0]
    return said


def run_workers(arguments: Sequence[str], processes: int) -> None:
    """Run `python -m gelora_cli.pipeline.worker ARGUMENTS` in N processes that know each other, and wait for them.

    A signal is passed on to all, which have `STOP_SECONDS` to end; where one fails, the others have `CRASH_SECONDS`.

    Raises:
        GeloraError: a worker failed; the message is that of the one that failed first by itself.
    """
    with handle_signals() as stop, stop.defer_interrupts(), _started(arguments, processes) as workers:
        signalled = _wait(workers, stop)
        failures = [failure for worker in workers if (failure := worker.failure())]
    if failures:
        cause = root_cause(failures, signalled)
        # Asked to stop, they end one after the other, and a worker may see that another is gone already.
        asked = stop.requested and (cause.follows(signalled) or cause.lost_peer)
        raise _stopped(failures, stop) if asked else cause.error


def worker(main: Callable[[list[str]], None], arguments: list[str]) -> None:
    """A worker process's work: its error goes to the process that started it, which shows the one true cause.

    What a user can mend, a stop, and the loss of a peer need no traceback here; anything else has one.
    """
    die_with_parent(int(os.environ[WORKER_OF]))
    try:
        main(arguments)
        _leave_group()
    except Exception as error:
        _report(error)
        if not (isinstance(error, GeloraError) or _lost_peer(str(error))):
            raise
        sys.exit(getattr(error, "exit_code", 1))


def _leave_group() -> None:
    """End the process group's threads, which the end of the process could meet alive, and abort."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def root_cause(failures: Sequence[Failure], signalled: float = math.inf) -> Failure:
    """That of the worker that failed first by itself: not one that lost its peer, or ended as it was asked to then."""
    return min(failures, key=lambda failure: (failure.follows(signalled), failure.lost_peer, failure.time))


class _Worker:
    """One worker process, and the pipe by which its error comes."""

    def __init__(self, arguments: Sequence[str], rank: int, processes: int, port: int) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        self.rank, self.reports = rank, os.fdopen(reading, "rb")
        self.ended = math.inf
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", WORKER_MODULE, *arguments],
            env=os.environ | _environment(rank, processes, port) | {REPORT_TO: str(writing)},
            pass_fds=(writing,),
            start_new_session=True,  # a terminal's Ctrl-C reaches the parent alone, which passes it on once
        )
        os.close(writing)

    def runs(self) -> bool:
        """Whether it has not ended; notes when it is first seen that it has."""
        if self.process.poll() is None:
            return True
        self.ended = min(self.ended, time.monotonic())
        return False

    def failed(self, stop: SignalHandler) -> bool:
        """Whether it has ended badly: not well, nor as it was asked to."""
        code = self.process.returncode
        return bool(code) and not (stop.requested and code == StoppedError.exit_code)

    def failure(self) -> Failure | None:
        """How it failed; None of one that ended well."""
        code = self.process.returncode
        if not code:
            return None
        said = self.reports.read()
        if said:
            return Failure(self.rank, **json.loads(said))
        return Failure(self.rank, self.ended, "", describe_exit_status(code))

    def send(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)


def _environment(rank: int, processes: int, port: int) -> dict[str, str]:
    """What torch and accelerate read of a worker's place among the others."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    return {key: str(value) for key, value in numbers.items()} | meeting | {WORKER_OF: str(os.getpid())}


@contextlib.contextmanager
def _started(arguments: Sequence[str], processes: int) -> Iterator[list[_Worker]]:
    """The workers, none of which is left afterwards."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    workers: list[_Worker] = []
    try:
        for rank in range(processes):
            workers.append(_Worker(arguments, rank, processes, store.port))
        yield workers
    finally:
        for started in workers:
            started.send(signal.SIGKILL)
            started.process.wait()
            started.reports.close()


def _wait(workers: Sequence[_Worker], stop: SignalHandler) -> float:
    """Wait until all have ended, as they are asked to when one fails or `stop` is requested; when they were asked."""
    signalled = math.inf
    while running := [started for started in workers if started.runs()]:
        failed = min((started.ended for started in workers if started.failed(stop)), default=math.inf)
        asked = signalled if stop.requested else math.inf
        if signalled == math.inf and (stop.requested or failed < math.inf):
            signalled = time.monotonic()
            _send_all(running, signal.SIGTERM)  # SIGINT would be a traceback of a worker that still imports
        if time.monotonic() > min(asked + STOP_SECONDS, failed + CRASH_SECONDS):
            _send_all(running, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    return signalled


def _send_all(workers: Sequence[_Worker], number: int) -> None:
    for started in workers:
        started.send(number)


def _stopped(failures: Sequence[Failure], stop: SignalHandler) -> StoppedError:
    """What a worker says of the stop, such as its step; else the signal that the run was sent."""
    said = [failure.message for failure in failures if failure.kind == StoppedError.__name__]
    more = [message for message in said if message != str(stopped_by(signal.SIGTERM))]
    return StoppedError(more[0]) if more else stopped_by(stop.number)


def _report(error: Exception) -> None:
    """Tell the process that started this one what went wrong."""
    ours = isinstance(error, GeloraError)
    kind = next((kind for kind in (StoppedError, RunError, GeloraError) if isinstance(error, kind)), type(error))
    message = str(error) if ours else f"failed: {type(error).__name__}: {error}"
    values: dict[str, Any] = {"time": time.monotonic(), "kind": kind.__name__, "message": message[:MOST_CHARACTERS]}
    with os.fdopen(int(os.environ[REPORT_TO]), "wb") as reports:
        reports.write(json.dumps(values).encode())


def _lost_peer(message: str) -> bool:
    return any(sign in message.lower() for sign in LOST_PEER)
