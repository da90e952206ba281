"""Record a sweep whose jobs leave this process: which are done, which are in a queue, which are to be submitted."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from gelora_cli.core.artifacts.sweep import SweepJob, SweepRecord
from gelora_cli.core.codec import write_artifact
from gelora_cli.core.directories import create_directory
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.locks import wait_for_lock
from gelora_cli.core.run_files import SWEEPS
from gelora_cli.launchers.job import Job
from gelora_cli.launchers.job_state import ENDED
from gelora_cli.launchers.sweep_state import RecordedSweep, ask_queue, find_sweeps, read_sweep


@contextlib.contextmanager
def submission_lock(jobs: Sequence[Job]) -> Iterator[None]:
    """Let one sweep at a time record and submit its jobs below a directory of runs."""
    directory = Path(jobs[0].config.runs_dir) / SWEEPS
    create_directory(directory)
    with wait_for_lock(directory, "the directory of sweeps"):
        yield


def new_sweep(jobs: Sequence[Job], launcher: str) -> RecordedSweep:
    """Return the sweep of these jobs, in a directory of its own, with nothing submitted and nothing written yet."""
    created = datetime.now(UTC)
    name = f"{created:%Y%m%d-%H%M%S-%f}"  # to the microsecond: names sort in time, also of sweeps in the same second
    directory = Path(jobs[0].config.runs_dir).resolve() / SWEEPS / name
    recorded = []
    for job in jobs:
        places = [os.path.relpath(path.resolve(), directory) for path in job.actions.run_directories(job)]
        recorded.append(SweepJob(job.number, job.label, job.arguments, tuple(places)))
    record = SweepRecord(
        typed=shlex.join(["gelora", *jobs[0].typed]),
        command=jobs[0].command,
        launcher=launcher,
        created=created.isoformat(timespec="seconds"),
        working_directory=str(Path.cwd()),
        jobs=tuple(recorded),
    )
    return RecordedSweep(directory, record)


def planned_jobs(sweep: RecordedSweep, jobs: Sequence[Job]) -> tuple[list[SweepJob], int]:
    """Return the jobs with what is known before any is submitted, and how many are in a queue already.

    A job that is done is marked, and one that an earlier sweep has in the queue gets its id.
    """
    queued = _queued_jobs(sweep)
    planned = []
    count = 0
    for recorded, job in zip(sweep.record.jobs, jobs, strict=True):
        is_done = sweep.is_done(recorded)
        earlier = queued.get(job_identity(sweep, recorded))
        if earlier is not None:
            count += 1
            holder, other = earlier
            folder = os.path.relpath(holder.folder(other), sweep.directory)
            planned.append(replace(recorded, scheduler_id=other.scheduler_id, folder=folder, repeats=other.repeats))
        elif is_done and job.config.force:
            planned.append(replace(recorded, repeats=True))
        else:
            planned.append(replace(recorded, was_done=is_done))
    return planned, count


def write_sweep(sweep: RecordedSweep, jobs: Sequence[SweepJob]) -> RecordedSweep:
    """Write the record with these jobs, and return it."""
    sweep = replace(sweep, record=replace(sweep.record, jobs=tuple(jobs)))
    create_directory(sweep.directory)
    write_artifact(sweep.record, sweep.directory)
    return sweep


def _queued_jobs(sweep: RecordedSweep) -> dict[tuple[str, ...], tuple[RecordedSweep, SweepJob]]:
    """Return the jobs of earlier sweeps that are queued or running, by what they do.

    Raises:
        GeloraError: the scheduler does not say whether any is.
    """
    submitted: dict[str, tuple[RecordedSweep, SweepJob]] = {}
    for path in find_sweeps(sweep.directory.parent.parent):
        with contextlib.suppress(GeloraError, OSError):  # a record that can't be read keeps no one from submitting
            earlier = read_sweep(path)
            for job in earlier.record.jobs:
                if earlier.record.launcher == sweep.record.launcher and earlier.may_be_pending(job):
                    submitted[job.scheduler_id] = (earlier, job)
    states = ask_queue(sweep.record.launcher, list(submitted))
    if states is None:
        raise GeloraError("No job was submitted: an earlier sweep may have the same ones in the queue. Try again later")
    active = {}
    for job_id, (earlier, job) in submitted.items():
        if job_id in states and states[job_id].kind != ENDED:
            active[job_identity(earlier, job)] = (earlier, job)
    return active


def job_identity(sweep: RecordedSweep, job: SweepJob) -> tuple[str, ...]:
    """Return what two jobs have in common that do the same: their run directories, or else their command."""
    return tuple(map(str, sweep.directories(job))) or job.arguments
