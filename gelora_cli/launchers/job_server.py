"""A warm process that forks one process for each job of a sweep, and the sweep's end of it.

Memory and random state of a job are its own, and a crash ends that job alone. The server imports the heavy libraries
once. Sweep, server and jobs talk through one socket in JSON: the sweep sends a request, the process of the job answers
with its pid and its outcome, and once that process has ended, the server adds its exit status. Jobs side by side have
a socket each (`parallel_server.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any, Self, cast

from gelora_cli.config.files import config_text
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.environment import utc_now
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.heavy_imports import import_heavy
from gelora_cli.core.messages import first_line
from gelora_cli.core.processes import describe_exit_status, die_with_parent
from gelora_cli.core.status import find_runs
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.launchers.signals import SIGNALS

SERVE = "--serve-jobs"
SERVER = (sys.executable, "-m", "gelora_cli", SERVE)
HEAVY = (
    "torch",
    "accelerate",
    "datasets",
    "gelora_cli.pipeline.worker",
    "gelora_cli.training.loop",
    "gelora_cli.methods",
    "torch._dynamo",
    "scipy.stats",
    "matplotlib.figure",
)
"""Modules that the server imports before it forks; every job needs them.

None may ask for a GPU at its import, as `peft` and `transformers.modeling_utils` do: CUDA can't be used after a fork.
"""
POLL_SECONDS = 0.1
"""How long the sweep waits for a message before it looks whether a signal has come."""
TRIES = 2
"""How often a server is started that ends before any job has begun."""


class JobServer:
    """The server as the sweep sees it. Signals that reach the sweep are passed on to the running job."""

    def __enter__(self) -> Self:
        self.pid: int | None = None  # of the running job
        self.stopped = False
        self._start()
        self._previous_handlers = {number: signal.signal(number, self._pass_on) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._end()

    def run(self, job: Job) -> Outcome:
        """Run one job and wait for it. The directory of one that crashed is found by the pid of its process.

        Raises:
            StoppedError: a signal came before the job had begun.
        """
        begun, clock = utc_now(), time.monotonic()
        answer = self._ask(request_of(job))
        return outcome_of(job, answer, begun, time.monotonic() - clock)

    def check(self, jobs: Sequence[Job]) -> list[str]:
        """Return for each job what its command would refuse of model and data, or an empty string.

        Raises:
            StoppedError: a signal came before all were checked.
        """
        configs = [config_text(job.config) for job in jobs]
        answer = self._ask({"command": jobs[0].command, "check": configs, "devices": jobs[0].runs_here})
        problems = answer.get("outcome")
        if isinstance(problems, list):
            return problems
        if self.stopped:
            raise StoppedError("interrupted before any job was started")
        return [f"can't be checked: {_read_outcome(answer).message}"]

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request, and return its answer with the exit `status` of the job's process or of a lost server."""
        answer: dict[str, Any] = {}
        for _ in range(TRIES):
            try:
                if self.process.poll() is not None:
                    self._end()
                    self._start()
                self.line.send_bytes(json.dumps(request).encode())
                while "status" not in answer:  # the pid, the outcome unless the job crashed, the exit status
                    answer |= self._receive()
            except (EOFError, OSError):
                # The server or its end of the socket is gone. The system has then ended the job as well.
                self.process.kill()
                answer["status"] = self.process.wait()
                if "pid" not in answer:  # no job had begun, so a new server can try again
                    answer.clear()
                    continue
            finally:
                self.pid = None
            return answer
        raise self._no_start()

    def _no_start(self) -> GeloraError:
        """Return the error of a server that ended several times before it could start a job."""
        status = describe_exit_status(self.process.returncode)
        return GeloraError(
            f"the process that starts the jobs {status}, {TRIES} times, before it could start one; see what it printed "
            "above, and try a single job without -m"
        )

    def _receive(self) -> dict[str, Any]:
        """Return the next message. The first one names the process that receives signals from then on."""
        while not self.line.poll(POLL_SECONDS):
            if self.stopped and self.pid is None:
                raise StoppedError("interrupted before any job was started")
        message: dict[str, Any] = json.loads(self.line.recv_bytes())
        if "pid" in message:
            self.pid = message["pid"]
            if self.stopped:  # the signal came before there was a process to pass it on to
                self._send(signal.SIGTERM)
        return message

    def _start(self) -> None:
        """Start the server, which is reached by one line."""
        self.line, server_line = Pipe()
        self.process = start_server([server_line])

    def _end(self) -> None:
        # Killing needs no answer of the server, whose signals are blocked. The kernel then ends a job that it has.
        self.process.kill()
        self.process.wait()
        self.line.close()

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        """Pass a signal on to the running job, and start no further one."""
        self.stopped = True
        self._send(number)

    def _send(self, number: int) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):  # the job has just ended
                os.kill(self.pid, number)


def start_server(lines: Sequence[Connection], output: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start a server with all signals blocked: the sweep alone passes them on, to the jobs.

    Args:
        lines: the server's ends of its sockets, one for each job at a time; they are closed here.
        output: descriptors that jobs may write their output to.
    """
    descriptors = [line.fileno() for line in lines]
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return subprocess.Popen(
            [*SERVER, ",".join(map(str, descriptors)), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            pass_fds=(*descriptors, *output),
            start_new_session=True,  # a terminal's Ctrl-C reaches the sweep alone, which passes it on once
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)
        for line in lines:
            line.close()


def request_of(job: Job) -> dict[str, Any]:
    """Return what a server is sent to run a job."""
    return {"command": job.command, "config": config_text(job.config), "words": list(job.typed)}


def outcome_of(job: Job, answer: dict[str, Any], begun: str, seconds: float) -> Outcome:
    """Return what came of a job from the messages of its process; one that crashed is found by its pid.

    Args:
        job: the job.
        answer: its messages, put together.
        begun: when the job began.
        seconds: how long it took.
    """
    outcome = _read_outcome(answer)
    if outcome.code and outcome.directory is None and "pid" in answer:
        directory = _find_run_of_process(answer["pid"], begun, Path(job.config.runs_dir))
        outcome = replace(outcome, directory=directory)
    return replace(outcome, seconds=seconds)


def serve(descriptors: int | Sequence[int], parent: int, do: Callable[[dict[str, Any]], Any]) -> None:
    """Fork a process that does each request from a socket, until the sockets are closed or `parent` ends.

    A socket has one job at a time, and the jobs of several sockets run side by side.
    """
    die_with_parent(parent)  # before the imports, which take seconds
    import_heavy(*HEAVY)
    idle = [Connection(number) for number in ([descriptors] if isinstance(descriptors, int) else descriptors)]
    running: dict[int, tuple[int, Connection]] = {}  # read end of a pipe that closes with a job -> its pid and socket
    while idle or running:
        for ready in wait([*idle, *running]):
            if isinstance(ready, Connection):
                idle.remove(ready)
                with contextlib.suppress(EOFError):  # the sweep has closed its end: that socket has no more jobs
                    alive, pid = _fork(json.loads(ready.recv_bytes()), do, ready)
                    running[alive] = (pid, ready)
            else:
                pid, line = running.pop(cast(int, ready))
                os.close(cast(int, ready))
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with contextlib.suppress(OSError):  # the sweep has closed its end
                    _send_message(line, status=status)
                idle.append(line)


def _fork(request: dict[str, Any], do: Callable[[dict[str, Any]], Any], line: Connection) -> tuple[int, int]:
    """Start the process of a job; return the end of a pipe that closes when that process ends, and its pid."""
    server = os.getpid()
    # No descendant but the process itself holds the other end: descriptors are not inherited by what it starts.
    alive, held = os.pipe()
    pid = os.fork()
    if pid == 0:
        _work(request, do, line, server)  # does not return
    os.close(held)
    return alive, pid


def _work(request: dict[str, Any], do: Callable[[dict[str, Any]], Any], line: Connection, server: int) -> None:
    """Be the process of a job, which ends here. Signals that came since the fork are delivered now."""
    die_with_parent(server)
    code = 1
    try:
        os.environ.update(request.pop("environment", {}))  # before anything asks CUDA, which reads its variable once
        for standard, descriptor in zip((1, 2), request.pop("output", ()), strict=False):
            os.dup2(descriptor, standard)
        _send_message(line, pid=os.getpid())  # first: from here on the sweep passes its signals on to this process
        # The server has blocked the signals, and the job inherits that. Their default action must be set before they
        # are unblocked, since one that is pending is delivered at once.
        for number in SIGNALS:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        _send_message(line, outcome=do(request))
        code = 0
    except KeyboardInterrupt:
        code = StoppedError.exit_code
    except BaseException as error:
        traceback.print_exc()
        _send_message(line, outcome=asdict(Outcome(1, None, f"{type(error).__name__}: {first_line(error)}")))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # without the exit handlers of the server, of which this process is a copy


def _send_message(line: Connection, **message: object) -> None:
    line.send_bytes(json.dumps(message).encode())


def _read_outcome(answer: dict[str, Any]) -> Outcome:
    """Return the outcome that a job sent, or what the exit status of its process says."""
    if answer.get("outcome"):
        return Outcome(**answer["outcome"])
    status = answer["status"]
    if status == StoppedError.exit_code or -status in SIGNALS:  # -n is the status after signal n
        return Outcome(StoppedError.exit_code, None, "interrupted; give the same command again to resume")
    return Outcome(1, None, f"its process {describe_exit_status(status)}")


def _find_run_of_process(pid: int, begun: str, runs_dir: Path) -> str | None:
    """Return the run directory that a process of this machine has written to since `begun`."""
    for path in find_runs(runs_dir):
        with contextlib.suppress(GeloraError):
            manifest = read_artifact(RunManifest, path / RunManifest.FILE)
            is_same_process = (manifest.pid, manifest.host) == (pid, socket.gethostname())
            if is_same_process and manifest.updated >= begun:
                return str(path)
    return None
