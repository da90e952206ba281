"""The jobs of a sweep, each in a process of its own: memory and random state are its own, and a crash ends it alone.

One server process imports the heavy libraries once and forks for each job. The sweep writes a line of JSON per job to
it and reads two: the number of the job's process, and how it ended.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from gelora_cli.artifacts import StoppedError
from gelora_cli.config import RunConfig, write_config
from gelora_cli.runtime import die_with_parent
from gelora_cli.stopping import SIGNALS

SERVE = "--serve-jobs"
HEAVY = ("torch", "accelerate", "datasets", "gelora_cli.pipeline", "gelora_cli.train", "gelora_cli.methods")


@dataclass(frozen=True)
class Outcome:
    """How a job ended: its exit code, its run directory if it has one, and the message of one that failed.

    `cost` is what `dry_run=true` found, the fields of `Estimate`.
    """

    code: int
    directory: str | None = None
    message: str = ""
    cost: dict[str, Any] | None = None


class JobServer:
    """The server, as the sweep sees it; signals that reach the sweep are passed on to the job at work."""

    def __enter__(self) -> JobServer:
        self.place = tempfile.TemporaryDirectory(prefix="gelora-sweep-")
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gelora_cli", SERVE, str(writing)],
            stdin=subprocess.PIPE,
            text=True,
            pass_fds=(writing,),
            start_new_session=True,  # a terminal's Ctrl-C reaches the sweep alone, which passes it on once
        )
        os.close(writing)
        self.reports = os.fdopen(reading, encoding="utf-8")
        self.pid: int | None = None
        self.stopped = False
        self.before = {number: signal.signal(number, self._pass_on) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.process.kill()
        self.process.wait()
        self.reports.close()
        self.place.cleanup()

    def run(self, command: str, config: RunConfig, words: list[str]) -> Outcome:
        """Do one job and wait for it."""
        path = Path(self.place.name) / "config.yaml"
        write_config(config, path)
        request = {"command": command, "config": str(path), "words": words, "outcome": f"{path}.json"}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        self.pid = int(self._report()["pid"])
        if self.stopped:  # asked before there was a process to pass it on to
            self._send(signal.SIGTERM)
        try:
            return Outcome(**self._report())
        finally:
            self.pid = None

    def _report(self) -> dict[str, Any]:
        line = self.reports.readline()
        lost = asdict(Outcome(1, None, "the process that starts the jobs has ended")) | {"pid": 0}
        return dict(json.loads(line)) if line else lost

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        self.stopped = True
        self._send(number)

    def _send(self, number: int) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def serve(descriptor: int, do: Callable[[dict[str, Any]], Outcome]) -> None:
    """Fork and `do` a job for each line of standard input, and report to the file descriptor; until the input ends."""
    die_with_parent()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the sweep passes them on to the job itself
    for name in HEAVY:
        importlib.import_module(name)
    with os.fdopen(descriptor, "w", encoding="utf-8") as reports:
        for line in sys.stdin:
            _fork(json.loads(line), do, reports)


def _fork(request: dict[str, Any], do: Callable[[dict[str, Any]], Outcome], reports: TextIO) -> None:
    outcome = Path(request["outcome"])
    outcome.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        _work(request, do, outcome)
    print(json.dumps({"pid": pid}), file=reports, flush=True)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if outcome.exists():
        found = json.loads(outcome.read_text(encoding="utf-8"))
    else:
        found = asdict(Outcome(abs(status) or 1, None, _how_it_ended(status)))
    print(json.dumps(found), file=reports, flush=True)


def _work(request: dict[str, Any], do: Callable[[dict[str, Any]], Outcome], outcome: Path) -> None:
    """The job's own process, which ends here."""
    die_with_parent()
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    code = 1
    try:
        found = do(request)
        outcome.write_text(json.dumps(asdict(found)), encoding="utf-8")
        code = found.code
    except KeyboardInterrupt:
        code = StoppedError.exit_code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _how_it_ended(status: int) -> str:
    """What is known of a job that left no outcome."""
    if status != -signal.SIGKILL:
        return f"its process ended with {status}; see its log.txt"
    return "its process was killed (signal 9), as the system does when memory runs out; see its log.txt"
