"""Start N worker processes for one run, and turn their failures into one error.

The workers meet at a store in this process, as with torch's own launcher. That launcher is not used, since it leaves
the other workers 30 seconds after a crash, whatever is set.
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
from collections.abc import Iterator, Sequence

from gelora_cli.core.errors import StoppedError
from gelora_cli.core.processes import describe_exit_status
from gelora_cli.launchers.failure import Failure, root_cause
from gelora_cli.launchers.signals import WORKER_OF, SignalHandler, handle_signals, stopped_by
from gelora_cli.launchers.worker_process import REPORT_TO

WORKER_MODULE = "gelora_cli.pipeline.worker"
STOP_SECONDS = 120.0
"""Time for a last checkpoint, once the run is asked to stop."""
CRASH_SECONDS = 10.0
"""Time for the other workers to end, once one has failed."""
POLL_SECONDS = 0.05
"""Time between two looks at the workers; it bounds how late the end of a run is seen."""


def run_workers(arguments: Sequence[str], processes: int) -> None:
    """Run `python -m gelora_cli.pipeline.worker ARGUMENTS` in N processes that form a group, and wait for them.

    A signal is passed on to all, which have `STOP_SECONDS` to end. If one fails, the others have `CRASH_SECONDS`.

    Raises:
        GeloraError: a worker failed; the message is that of the one that failed first by itself.
    """
    with handle_signals() as stop, stop.defer_interrupts(), _started_workers(arguments, processes) as workers:
        signalled = _wait(workers, stop)
        failures = [failure for worker in workers if (failure := worker.failure())]
    if failures:
        cause = root_cause(failures, signalled)
        # Workers that are asked to stop end one after the other, and one may see that another is gone already.
        if stop.requested and (cause.follows(signalled) or cause.lost_peer):
            raise _stop_error(failures, stop)
        raise cause.error


class _Worker:
    """One worker process, and the pipe through which its error comes."""

    def __init__(self, arguments: Sequence[str], rank: int, processes: int, port: int) -> None:
        # A pipe of its own for each worker: two that fail together would mix their messages in one.
        reading, writing = os.pipe()
        os.set_blocking(reading, False)  # a worker that is killed leaves the pipe empty
        self.rank, self.reports = rank, os.fdopen(reading, "rb")
        self.ended = math.inf  # when it was first seen that the process has ended, by the monotonic clock
        # From these torch and accelerate read the rank of a worker.
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        variables = {
            "MASTER_ADDR": "127.0.0.1",  # where the group meets
            "MASTER_PORT": str(port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",  # rank 0 joins the store of this process instead of opening one
            WORKER_OF: str(os.getpid()),
            REPORT_TO: str(writing),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", WORKER_MODULE, *arguments],
            env=os.environ | variables | {name: str(number) for name, number in numbers.items()},
            pass_fds=(writing,),
            start_new_session=True,  # a terminal's Ctrl-C reaches the parent alone, which passes it on once
        )
        os.close(writing)  # else the pipe would never end

    def is_running(self) -> bool:
        """Return whether the process has not ended."""
        if self.process.poll() is None:
            return True
        self.ended = min(self.ended, time.monotonic())
        return False

    def has_failed(self, stop: SignalHandler) -> bool:
        """Return whether the process has ended with an error other than the stop that was requested."""
        code = self.process.returncode
        return bool(code) and not (stop.requested and code == StoppedError.exit_code)

    def failure(self) -> Failure | None:
        """Return how the worker failed; None if it ended well."""
        code = self.process.returncode
        if not code:
            return None
        report = self.reports.read()
        if report:
            return Failure(**json.loads(report))
        return Failure(self.rank, self.ended, "", describe_exit_status(code))

    def send(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)


@contextlib.contextmanager
def _started_workers(arguments: Sequence[str], processes: int) -> Iterator[list[_Worker]]:
    """Start the workers, and kill those that still run at the end."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # port 0: any that is free
    workers: list[_Worker] = []
    try:
        for rank in range(processes):
            workers.append(_Worker(arguments, rank, processes, store.port))
        yield workers
    finally:  # also where a worker could not be started, or this process is interrupted
        for worker in workers:
            worker.send(signal.SIGKILL)
            worker.process.wait()
            worker.reports.close()


def _wait(workers: Sequence[_Worker], stop: SignalHandler) -> float:
    """Wait until all workers have ended, and return when they were asked to end (infinity: never).

    They are asked when the run is asked to stop or one of them fails. Those that don't end in time are killed.
    """
    signalled = math.inf
    while running := [worker for worker in workers if worker.is_running()]:
        failed = min((worker.ended for worker in workers if worker.has_failed(stop)), default=math.inf)
        if signalled == math.inf and (stop.requested or failed < math.inf):
            signalled = time.monotonic()
            _send_all(running, signal.SIGTERM)  # after SIGINT a worker that still imports would print a traceback
        stopped = signalled if stop.requested else math.inf
        # Whatever comes first; without a signal and a failure both limits are infinite.
        if time.monotonic() > min(stopped + STOP_SECONDS, failed + CRASH_SECONDS):
            _send_all(running, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    return signalled


def _send_all(workers: Sequence[_Worker], number: int) -> None:
    for worker in workers:
        worker.send(number)


def _stop_error(failures: Sequence[Failure], stop: SignalHandler) -> StoppedError:
    """Return what a worker reports of the stop, such as its step, or else the signal that the run received."""
    messages = [failure.message for failure in failures if failure.kind == StoppedError.__name__]
    details = [message for message in messages if message != str(stopped_by(signal.SIGTERM))]
    return StoppedError(details[0]) if details else stopped_by(stop.number)
