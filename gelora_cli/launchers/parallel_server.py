"""Several jobs of a sweep side by side, forked from one warm server: `launch.parallel`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import IO, Any

from gelora_cli.core.environment import utc_now
from gelora_cli.core.errors import StoppedError
from gelora_cli.core.processes import limit_omp_threads
from gelora_cli.launchers.base import announce
from gelora_cli.launchers.gpu_shares import GpuShares
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.launchers.job_server import POLL_SECONDS, TRIES, JobServer, outcome_of, request_of, start_server

READ_BYTES = 1 << 16


class _Output:
    """One output stream of a slot's jobs, whose whole lines are shown with the number of the job before them."""

    def __init__(self, name: str) -> None:
        self.name = name  # of the stream of `sys` that the lines go to
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self._begun = b""  # a line without its end

    def show(self, prefix: str, *, ended: bool = False) -> None:
        """Show what has come since the last time; a line without its end only once the job has ended."""
        stream: IO[str] = getattr(sys, self.name)
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.reading, READ_BYTES):
                self._begun += chunk
        *lines, self._begun = self._begun.split(b"\n")
        if ended and self._begun:
            lines, self._begun = [*lines, self._begun], b""
        for line in lines:
            # A progress bar returns to the start of its line. What it last showed there is kept.
            text = line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
            stream.write(f"{prefix}{text}\n")
        stream.flush()

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reading)
        os.close(self.writing)


@dataclass
class _Slot:
    """A place for one job at a time.

    Attributes:
        line: the socket to the process of its job.
        environment: the environment variables of its jobs, which say what GPUs they see.
        outputs: the standard output and standard error of its job.
        job: the job that it has.
        answer: the messages of that job's process, put together.
        begun: when the job began.
        clock: the same by the monotonic clock.
    """

    line: Connection
    environment: dict[str, str]
    outputs: tuple[_Output, _Output] = field(default_factory=lambda: (_Output("stdout"), _Output("stderr")))
    job: Job | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    begun: str = ""
    clock: float = 0.0

    def begin(self, job: Job) -> None:
        """Send a job to the server."""
        self.job, self.answer, self.begun, self.clock = job, {}, utc_now(), time.monotonic()
        output = [output.writing for output in self.outputs]
        request = request_of(job) | {"output": output, "environment": self.environment}
        self.line.send_bytes(json.dumps(request).encode())

    def send(self, number: int) -> None:
        """Send a signal to the process of the job, if it has begun and not ended."""
        if self.job is not None and "pid" in self.answer:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.answer["pid"], number)

    def show_output(self, *, ended: bool = False) -> None:
        """Show the lines that the job has written."""
        prefix = f"[{self.job.number}] " if self.job is not None else ""
        for output in self.outputs:
            output.show(prefix, ended=ended)

    def end(self) -> tuple[Job, Outcome]:
        """Return the job and what came of it; the slot is free then."""
        assert self.job is not None
        self.show_output(ended=True)
        job, self.job = self.job, None
        return job, outcome_of(job, self.answer, self.begun, time.monotonic() - self.clock)


class ParallelServer(JobServer):
    """A server with several slots. A signal is passed on to the jobs of all, and no further one starts.

    Each job computes with its share of the cores, unless OMP_NUM_THREADS says with how many threads.
    """

    def __init__(self, shares: GpuShares, processes: int) -> None:
        """Take the number of jobs side by side with the GPUs of each, and the number of worker processes of each."""
        self._shares, self._processes = shares, processes
        self._slots: list[_Slot] = []

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        for slot in self._slots:
            for output in slot.outputs:
                output.close()

    def run_all(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Run the jobs, and yield the outcome of each in their order.

        Raises:
            StoppedError: a signal came before any of the jobs that are left had begun.
            GeloraError: the server can't start.
        """
        waiting = deque(jobs)
        outcomes: dict[int, Outcome] = {}  # by the number of the job
        tries = 0
        for expected in jobs:
            while expected.number not in outcomes:
                if self.stopped and not any("pid" in slot.answer for slot in self._busy()):
                    raise StoppedError("interrupted before any of the other jobs was started")
                try:
                    self._fill(waiting)
                    for job, outcome in self._ended():
                        outcomes[job.number] = outcome
                        tries = 0
                except (EOFError, OSError):
                    outcomes |= self._collect_lost(waiting)
                    tries += 1
                    if tries == TRIES:
                        raise self._no_start() from None
                    self._start()
            yield outcomes.pop(expected.number)

    def _busy(self) -> list[_Slot]:
        return [slot for slot in self._slots if slot.job is not None]

    def _fill(self, waiting: deque[Job]) -> None:
        """Give every free slot the next job, unless the sweep is to stop."""
        for slot in self._slots:
            busy = [other.job.arguments for other in self._slots if other.job is not None]
            # Jobs that do the same follow each other: the second finds the run of the first.
            job = next((job for job in waiting if job.arguments not in busy), None)
            if slot.job is None and job is not None and not self.stopped:
                announce(job)
                waiting.remove(job)
                try:
                    slot.begin(job)
                except OSError:
                    slot.job = None
                    waiting.appendleft(job)
                    raise

    def _ended(self) -> Iterator[tuple[Job, Outcome]]:
        """Show output and read messages as they come, and yield the jobs that have ended by then.

        Raises:
            EOFError: the server is gone.
        """
        sources: dict[Connection | int, _Slot] = {}
        for slot in self._busy():
            sources |= {slot.line: slot} | {output.reading: slot for output in slot.outputs}
        for source in wait([*sources], POLL_SECONDS):
            slot = sources[source]  # type: ignore[index]
            if not isinstance(source, Connection):
                slot.show_output()
                continue
            message = json.loads(source.recv_bytes())
            slot.answer |= message
            if "pid" in message and self.stopped:  # the signal came before there was a process to pass it on to
                slot.send(signal.SIGTERM)
            if "status" in message:
                yield slot.end()

    def _collect_lost(self, waiting: deque[Job]) -> dict[int, Outcome]:
        """Return the outcomes of the jobs that went with a server that is gone; those that had not begun wait again."""
        self.process.kill()
        status = self.process.wait()
        outcomes = {}
        for slot in reversed(self._busy()):
            with contextlib.suppress(EOFError, OSError):
                while True:  # until the end of what was sent: the system has ended the jobs with the server
                    slot.answer |= json.loads(slot.line.recv_bytes())
            if "pid" in slot.answer:
                slot.answer.setdefault("status", status)
                job, outcome = slot.end()
                outcomes[job.number] = outcome
            elif slot.job is not None:
                waiting.appendleft(slot.job)
                slot.job = None
        self._end()
        return outcomes

    def _start(self) -> None:
        """Start the server with a line for each slot."""
        lines, server_lines = zip(*(Pipe() for _ in range(self._shares.jobs)), strict=True)
        if self._slots:
            for slot, line in zip(self._slots, lines, strict=True):
                slot.line = line
        else:
            self._slots = [_Slot(line, self._shares.environment(place)) for place, line in enumerate(lines)]
        self.line = lines[0]  # for checks
        output = [each.writing for slot in self._slots for each in slot.outputs]
        # Before the server imports torch, so that all libraries see the same number of threads.
        with limit_omp_threads(self._shares.jobs * self._processes):
            self.process = start_server(server_lines, output)

    def _end(self) -> None:
        super()._end()
        for slot in self._slots[1:]:
            slot.line.close()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        super()._pass_on(number, frame)
        for slot in self._busy():
            slot.send(number)
