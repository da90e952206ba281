"""How a worker process failed, and which of several failures is the cause of the others."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from gelora_cli.core.errors import GeloraError, RunError, StoppedError
from gelora_cli.core.plugins import plugin_line

MOST_CHARACTERS = 8_000
"""Characters of a worker's message. Message and traceback fit a pipe (64 KiB), which is read when the worker ended."""
MOST_TRACEBACK = 20_000
"""Characters of a worker's traceback, whose end is the most useful."""
LOST_PEER = ("connection closed", "connection reset", "connection refused", "broken pipe", "gloo", "nccl", "timed out")
"""Parts of messages by which torch says that another process is gone."""


@dataclass(frozen=True)
class Failure:
    """How a worker failed.

    Attributes:
        rank: the rank of the worker.
        time: when it failed, by the monotonic clock of the system, in seconds.
        kind: the type of its error, `StoppedError`, `RunError` or `GeloraError` where it is one of ours; empty if it
            did not report any.
        message: the error's message.
        traceback: where an error arose that is none of ours.
    """

    rank: int
    time: float
    kind: str
    message: str
    traceback: str = ""

    @property
    def lost_peer(self) -> bool:
        """Return whether the worker only noticed that another one was gone."""
        return is_lost_peer(self.message)

    def follows(self, signalled: float) -> bool:
        """Return whether the worker ended because it was asked to at that time."""
        return self.time > signalled and self.kind in ("", StoppedError.__name__)

    @property
    def error(self) -> GeloraError:
        """Return the error with which the run ends; the worker's traceback is its cause."""
        for kind in (StoppedError, RunError, GeloraError):  # by name, since the error crossed a pipe
            if self.kind == kind.__name__:
                return kind(self.message)
        if not self.traceback:
            return RunError(f"worker {self.rank} {self.message}")
        error = RunError(f"worker {self.rank} {self.message}. With debug=true the same command shows the traceback.")
        error.__cause__ = WorkerError(f"\n{self.traceback}")
        return error


class WorkerError(Exception):
    """Holds the traceback of another process, so that it is shown as the cause of the error here."""


def root_cause(failures: Sequence[Failure], signalled: float = math.inf) -> Failure:
    """Return the failure of the worker that failed first by itself.

    Workers that lost their peer, or ended because they were asked to at the time `signalled`, come after it.
    """
    return min(failures, key=lambda failure: (failure.follows(signalled), failure.lost_peer, failure.time))


def failure_of(error: BaseException, rank: int) -> Failure:
    """Return the failure that an error in this worker is."""
    clock = time.monotonic()  # one clock for all processes of a machine, so that times of workers can be compared
    for kind in (StoppedError, RunError, GeloraError):  # the most special first: all of them are GeloraErrors
        if isinstance(error, kind):
            return Failure(rank, clock, kind.__name__, str(error)[:MOST_CHARACTERS])
    message = f"failed: {type(error).__name__}: {error}"[:MOST_CHARACTERS] + plugin_line(error)
    # Of a lost peer the traceback leads to torch's collectives, and says nothing of the cause.
    lines = "" if is_lost_peer(message) else "".join(traceback.format_exception(error))
    return Failure(rank, clock, type(error).__name__, message, lines[-MOST_TRACEBACK:])


def is_lost_peer(message: str) -> bool:
    """Return whether an error's message says that another process is gone."""
    return any(sign in message.lower() for sign in LOST_PEER)
