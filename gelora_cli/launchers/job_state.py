"""What can be known of a job that runs elsewhere: what its scheduler says, how its command ended, its log."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from gelora_cli.core.artifacts.sweep import JobEnd
from gelora_cli.core.codec import read_artifact, to_json
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.files import write_atomic

QUEUED, RUNNING, ENDED = "queued", "running", "ended"
PREEMPTED, CANCELLED, UNKNOWN = "preempted", "cancelled", "unknown"
TIME_IS_OVER = signal.SIGUSR2
"""The signal some time before a job's time is over; the job then has to ask for another turn by itself."""
STOPPED_CODES = (StoppedError.exit_code, -signal.SIGTERM, -TIME_IS_OVER)
"""Exit codes of a command that was asked to stop; a signal ends one that has not come so far as to handle it."""


@dataclass(frozen=True)
class QueueState:
    """What a scheduler says of a job.

    Attributes:
        kind: `QUEUED`, `RUNNING` or `ENDED`.
        word: the scheduler's own word, such as COMPLETING or TIMEOUT.
        reason: why a job waits, in the scheduler's words.
    """

    kind: str
    word: str
    reason: str = ""


def end_file(folder: Path, job_id: str) -> Path:
    """Return the file that says how a job ended."""
    return folder / f"{job_id}.end.json"


def log_file(folder: Path, job_id: str) -> Path:
    """Return the file with the output of a job."""
    return folder / f"{job_id}_0_log.out"  # as submitit names it


def read_end(folder: Path, job_id: str) -> JobEnd | None:
    """Return how a job ended; None if it did not say so."""
    try:
        return read_artifact(JobEnd, end_file(folder, job_id))
    except GeloraError:
        return None


def write_end(folder: Path, job_id: str, end: JobEnd) -> None:
    """Write how a job ended, beside its log."""
    write_atomic(end_file(folder, job_id), to_json(end))


def last_message(log: Path) -> str:
    """Return the last line of a log in which gelora said something, or its last line; empty if it has none."""
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return ""
    said = [line.removeprefix("gelora: ") for line in lines if line.startswith("gelora: ")]
    return next(reversed(said or list(filter(None, lines))), "")
