"""The jobs of a sweep, each in a process of its own: memory and random state are its own, and a crash ends it alone.

One server process imports the heavy libraries once and forks for each job. Sweep, server and jobs talk through one
socket in JSON: the sweep asks; the job's process names its pid and says what came of it; once it has ended, the server
says how.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

from gelora_cli.config.files import config_text
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.environment import utc_now
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.messages import first_line
from gelora_cli.core.processes import describe_exit_status, die_with_parent
from gelora_cli.core.status import find_runs
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
)
POLL_SECONDS = 0.1
TRIES = 2


@dataclass(frozen=True)
class Outcome:
    """What came of a job: its exit code, its run directory if it has one, and the message of one that failed.

    `value` is what a run reports, `seconds` what the job took; `linked`: its plan is that of a run that was done, so
    it was not trained again. `cost` is what `dry_run=true` found, the fields of
    `Estimate`.
    """

    code: int
    directory: str | None = None
    message: str = ""
    cost: dict[str, Any] | None = None
    value: float | None = None
    already_done: bool = False
    linked: bool = False
    seconds: float = 0.0

    @property
    def state(self) -> str:
        """`done`, `already done`, `linked`, `estimated`, `failed` or `interrupted`."""
        if self.code:
            return "interrupted" if self.code == StoppedError.exit_code else "failed"
        if self.linked and not self.already_done:
            return "linked"
        return "already done" if self.already_done else "estimated" if self.cost else "done"


class JobServer:
    """The server, as the sweep sees it; signals that reach the sweep are passed on to the job at work."""

    def __enter__(self) -> JobServer:
        self.pid: int | None = None
        self.stopped = False
        self._start()
        self.before = {number: signal.signal(number, self._pass_on) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self._end()

    def run(self, command: str, config: RunConfig, words: list[str]) -> Outcome:
        """Do one job and wait for it; the directory of one that crashed is found by its process's number.

        Raises:
            StoppedError: a signal came before the job had begun.
        """
        begun, started = utc_now(), time.monotonic()
        answer = self._ask({"command": command, "config": config_text(config), "words": words})
        found = Outcome(**answer["outcome"]) if "outcome" in answer else _without_word(answer["status"])
        if found.code and found.directory is None and "pid" in answer:
            found = replace(found, directory=_directory_of(answer["pid"], begun, Path(config.runs_dir)))
        return replace(found, seconds=time.monotonic() - started)

    def check(self, command: str, configs: Sequence[RunConfig]) -> list[str]:
        """For each configuration what of its model and data `command` would refuse; nothing ("") of most.

        Raises:
            StoppedError: a signal came before all were looked at.
        """
        answer = self._ask({"command": command, "check": [config_text(config) for config in configs]})
        outcome = answer.get("outcome")
        if isinstance(outcome, list):
            return outcome
        if self.stopped:
            raise StoppedError("interrupted before any job was started")
        failed = Outcome(**outcome) if outcome else _without_word(answer["status"])
        return [f"can't be checked: {failed.message}"]

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have it done by a process of its own: what that said, and the exit `status` of it or of a lost server."""
        answer: dict[str, Any] = {}
        for _ in range(TRIES):
            try:
                if self.process.poll() is not None:
                    self._end()
                    self._start()
                self.line.send_bytes(json.dumps(request).encode())
                while "status" not in answer:
                    answer |= self._receive()
            except (EOFError, OSError):
                self.process.kill()  # it has ended, or its end of the line: with the job, which the system ends, too
                answer["status"] = self.process.wait()
                if "pid" not in answer:
                    answer.clear()
                    continue
            finally:
                self.pid = None
            return answer
        raise GeloraError(
            f"the process that starts the jobs {describe_exit_status(self.process.returncode)}, {TRIES} times, before "
            "it could start one; see what it printed above, and try a single job without -m"
        )

    def _receive(self) -> dict[str, Any]:
        """The next message; the first one names the process that signals are passed on to from then on."""
        while not self.line.poll(POLL_SECONDS):
            if self.stopped and self.pid is None:
                raise StoppedError("interrupted before any job was started")
        message: dict[str, Any] = json.loads(self.line.recv_bytes())
        if "pid" in message:
            self.pid = message["pid"]
            if self.stopped:  # asked before there was a process to pass it on to
                self._send(signal.SIGTERM)
        return message

    def _start(self) -> None:
        """Start the server, deaf to signals from its birth: the sweep alone passes them on, to the job."""
        self.line, theirs = Pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self.process = subprocess.Popen(
                [*SERVER, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # a terminal's Ctrl-C reaches the sweep alone, which passes it on once
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.line.close()

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        self.stopped = True
        self._send(number)

    def _send(self, number: int) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def serve(descriptor: int, parent: int, do: Callable[[dict[str, Any]], Any]) -> None:
    """Fork and `do` each request that comes by the socket, until it is closed; then or where `parent` dies, end."""
    die_with_parent(parent)
    for name in HEAVY:
        importlib.import_module(name)
    line = Connection(descriptor)
    with contextlib.suppress(EOFError):
        while True:
            _fork(json.loads(line.recv_bytes()), do, line)


def _fork(request: dict[str, Any], do: Callable[[dict[str, Any]], Any], line: Connection) -> None:
    server, pid = os.getpid(), os.fork()
    if pid == 0:
        _work(request, do, line, server)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _tell(line, status=status)


def _work(request: dict[str, Any], do: Callable[[dict[str, Any]], Any], line: Connection, server: int) -> None:
    """The job's own process, which ends here; a signal that came since the fork is heard now."""
    die_with_parent(server)
    code = 1
    try:
        _tell(line, pid=os.getpid())
        for number in SIGNALS:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        _tell(line, outcome=do(request))
        code = 0
    except KeyboardInterrupt:
        code = StoppedError.exit_code
    except BaseException as error:
        traceback.print_exc()
        _tell(line, outcome=asdict(Outcome(1, None, f"{type(error).__name__}: {first_line(error)}")))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tell(line: Connection, **message: object) -> None:
    line.send_bytes(json.dumps(message).encode())


def _without_word(status: int) -> Outcome:
    """What is known of a job that only left the exit status of its process."""
    if status == StoppedError.exit_code or -status in SIGNALS:
        return Outcome(StoppedError.exit_code, None, "interrupted; give the same command again to go on")
    return Outcome(1, None, f"its process {describe_exit_status(status)}")


def _directory_of(pid: int, begun: str, runs_dir: Path) -> str | None:
    """The run directory that a process of this machine has worked on since then."""
    for path in find_runs(runs_dir):
        with contextlib.suppress(GeloraError):
            manifest = read_artifact(RunManifest, path / RunManifest.FILE)
            if (manifest.pid, manifest.host) == (pid, socket.gethostname()) and manifest.updated >= begun:
                return str(path)
    return None
