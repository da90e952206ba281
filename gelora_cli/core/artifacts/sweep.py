"""What a launcher that sends jobs elsewhere writes down: the jobs of a sweep, `sweep.json`, and how a job ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class SweepJob:
    """One job of a recorded sweep.

    Attributes:
        number: The position of the job in the sweep, from 1.
        label: The overrides in which it differs from the others.
        arguments: Its own command line, without the interpreter.
        directories: Where its run may be, as paths from the directory of the sweep: one, or one for each precision
            that the machine may have that runs it. Empty for a command that writes no run directory.
        scheduler_id: What the scheduler calls it, such as 12_3; empty for a job that was not submitted.
        folder: The directory of its log, as a path from the directory of the sweep. It belongs to an earlier sweep
            where the job was still in the queue from then.
        was_done: Whether the run was done before, so that the job was not submitted.
        repeats: Whether the job repeats a run that was done before (`force=true`).
    """

    number: int
    label: str
    arguments: tuple[str, ...]
    directories: tuple[str, ...]
    scheduler_id: str = ""
    folder: str = ""
    was_done: bool = False
    repeats: bool = False


@dataclass(frozen=True)
class SweepRecord:
    """The jobs of a sweep that a scheduler runs, so that any process can say later what came of them.

    Attributes:
        typed: The command as it was typed.
        command: The name of the command of every job, such as `run`.
        launcher: The launcher that submitted them.
        created: When, in UTC, ISO 8601.
        working_directory: The directory in which the command was given, and in which the jobs run.
        jobs: The jobs.
    """

    typed: str
    command: str
    launcher: str
    created: str
    working_directory: str
    jobs: tuple[SweepJob, ...]

    FILE: ClassVar[str] = "sweep.json"


@dataclass(frozen=True)
class JobEnd:
    """How the command of a job ended, written by the process that ran it on the scheduler's machine.

    Attributes:
        code: Its exit code; -n after signal n.
        seconds: How long it ran, with the earlier starts of a job that was requeued.
        host: The machine.
        asked_by: The signal that asked it to stop; empty if none did.
    """

    code: int
    seconds: float
    host: str
    asked_by: str = ""
