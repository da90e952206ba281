"""Recorded sweeps: where they are, and what came of each of their jobs, from any process and at any time.

The run directory is believed first. What it can't say comes from the scheduler and from how the command ended.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.sweep import JobEnd, SweepJob, SweepRecord
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.done import is_done
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.processes import describe_exit_status
from gelora_cli.core.registries import LAUNCHERS
from gelora_cli.core.run_files import SWEEPS
from gelora_cli.launchers import run_outcome
from gelora_cli.launchers.job import Outcome
from gelora_cli.launchers.job_state import (
    CANCELLED,
    ENDED,
    PREEMPTED,
    QUEUED,
    RUNNING,
    STOPPED_CODES,
    TIME_IS_OVER,
    UNKNOWN,
    QueueState,
    end_file,
    last_message,
    log_file,
    read_end,
)
from gelora_cli.launchers.run_outcome import finished_outcome, latest_run, unseen_run

SAME_COMMAND = "give the same command again to resume"


@dataclass(frozen=True)
class RecordedSweep:
    """A sweep that was read from its directory."""

    directory: Path
    record: SweepRecord
    _seen_ended: dict[str, float] = field(default_factory=dict, init=False, repr=False, compare=False)
    """When a job was first seen to have ended, by its id; for one of which no file is seen that says it."""

    def directories(self, job: SweepJob) -> list[Path]:
        """Return where the run of a job may be."""
        return [(self.directory / name).resolve() for name in job.directories]

    def folder(self, job: SweepJob) -> Path:
        """Return where the log of a job is."""
        return (self.directory / job.folder).resolve()

    def is_done(self, job: SweepJob) -> bool:
        """Return whether the run of a job is done."""
        if job.repeats:  # what it repeats was done before
            return self._finished(job) is not None
        return any(is_done(directory) for directory in self.directories(job))

    def may_be_pending(self, job: SweepJob) -> bool:
        """Return whether the scheduler may have the job: it was submitted, is not done, and did not fail by itself."""
        if not job.scheduler_id or self.is_done(job):
            return False
        end = read_end(self.folder(job), job.scheduler_id)
        return end is None or end.code in STOPPED_CODES

    def outcomes(self, *, warn: bool = True) -> list[Outcome]:
        """Return what came of each job up to now. The scheduler is asked once, for all jobs that it may have.

        Args:
            warn: print a warning where it gives no answer.
        """
        jobs = self.record.jobs
        waiting = [job.scheduler_id for job in jobs if self.may_be_pending(job)]
        queue = ask_queue(self.record.launcher, waiting, warn=warn)
        return [self._outcome(job, queue) for job in jobs]

    def _outcome(self, job: SweepJob, queue: Mapping[str, QueueState] | None) -> Outcome:
        """Return what came of a job; `queue` is None where the scheduler gives no answer."""
        end = read_end(self.folder(job), job.scheduler_id) if job.scheduler_id else None
        seconds = end.seconds if end else 0.0
        finished = self._finished(job)
        if finished is not None:
            return replace(finished, seconds=seconds) if end else finished
        if not job.scheduler_id:
            return Outcome(StoppedError.exit_code, message="it was not submitted", scheduled="not started")
        if queue is None and self.may_be_pending(job):
            return Outcome(0, message=f"{self.record.launcher} job {job.scheduler_id}", scheduled=UNKNOWN)
        state = (queue or {}).get(job.scheduler_id)
        if state is not None and state.kind != ENDED:
            return self._pending(job, state, seconds, has_begun=end is not None)
        return replace(self._ended(job, state, end), seconds=seconds)

    def _finished(self, job: SweepJob) -> Outcome | None:
        """Return the outcome of a job whose run is done; None of any other."""
        for directory in self.directories(job):
            if not is_done(directory):
                continue
            try:
                manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
                if job.repeats and manifest.updated < self.record.created:  # done by the run that it repeats
                    continue
                seconds = sum(manifest.seconds.values())
                return finished_outcome(directory, manifest, already_done=job.was_done, seconds=seconds)
            except GeloraError as error:  # a damaged file hides no other job
                return Outcome(1, str(directory), str(error))
        return None

    def _pending(self, job: SweepJob, state: QueueState, seconds: float, *, has_begun: bool) -> Outcome:
        """Return the outcome of a job that the scheduler has."""
        name = state.kind
        if name == QUEUED and (has_begun or self._manifest(job) is not None):
            name = PREEMPTED
        waits = f" ({state.reason})" if state.reason and state.kind == QUEUED else ""
        return Outcome(
            0, message=f"{self.record.launcher} job {job.scheduler_id}{waits}", seconds=seconds, scheduled=name
        )

    def _ended(self, job: SweepJob, state: QueueState | None, end: JobEnd | None) -> Outcome:
        """Return the outcome of a job that has left the queue, and whose run is not done."""
        word = state.word if state is not None else ""
        if word == "COMPLETED" or (end is not None and end.code == 0):
            return self._unseen(job)
        written = self._manifest(job)
        directory = None if written is None else str(written[0])
        was_asked = end is not None and bool(end.asked_by) and end.code in STOPPED_CODES
        if was_asked and end is not None and end.asked_by == TIME_IS_OVER.name:
            message = f"its time was over, and it was not put into the queue again; {SAME_COMMAND}"
            return Outcome(StoppedError.exit_code, directory, message)
        if word == "CANCELLED" or was_asked or (end is None and not word):
            message = f"it left the queue; {SAME_COMMAND}"
            return Outcome(StoppedError.exit_code, directory, message, scheduled=CANCELLED)
        log = log_file(self.folder(job), job.scheduler_id)
        code = 1 if end is None or end.code <= 0 else end.code
        if written is not None and written[1].status == "failed" and written[1].error:
            return Outcome(code, directory, written[1].error)
        how = f"the scheduler says {word}" if end is None else f"it {describe_exit_status(end.code)}"
        return Outcome(code, directory, f"{last_message(log) or how} (log: {log})")

    def _unseen(self, job: SweepJob) -> Outcome:
        """Return the outcome of a job that ended without an error, and whose run is not seen to be done.

        On a shared file system its last files are seen some time later, and in any order.
        """
        if not job.directories:
            return Outcome(0)  # it writes no run directory, which would say so
        if time.time() - self._end_time(job) < run_outcome.FILES_SECONDS:
            return Outcome(0, message="it ended, and its files are not seen yet", scheduled=RUNNING)
        log = log_file(self.folder(job), job.scheduler_id)
        return Outcome(1, message=f"{unseen_run(self.directories(job))} (log: {log})")

    def _end_time(self, job: SweepJob) -> float:
        """Return when a job ended, as far as this machine sees it; every process has to say nearly the same."""
        folder = self.folder(job)
        for path in (end_file(folder, job.scheduler_id), log_file(folder, job.scheduler_id)):
            with contextlib.suppress(OSError):
                return path.stat().st_mtime
        return self._seen_ended.setdefault(job.scheduler_id, time.time())

    def _manifest(self, job: SweepJob) -> tuple[Path, RunManifest] | None:
        """Return the run directory that a job has written to since the sweep began, and its `run.json`."""
        return latest_run(self.directories(job), since=self.record.created)


def ask_queue(launcher: str, job_ids: Sequence[str], *, warn: bool = True) -> Mapping[str, QueueState] | None:
    """Return what the scheduler of a launcher says of jobs; None, with a warning, where it gives no answer."""
    if not job_ids or launcher not in LAUNCHERS:
        return {}
    try:
        return LAUNCHERS.get(launcher).queue_states(job_ids)
    except GeloraError as error:
        if warn:
            print(f"gelora: {error}; what follows is from the run directories alone", file=sys.stderr)
        return None


def read_sweep(directory: Path) -> RecordedSweep:
    """Read a recorded sweep.

    Raises:
        GeloraError: there is none, or its file is damaged.
    """
    path = directory / SweepRecord.FILE
    record = read_artifact(SweepRecord, path)
    if any("\0" in text for job in record.jobs for text in (*job.directories, job.folder, job.scheduler_id)):
        raise GeloraError(f"{path} is damaged: a path in it has a zero byte. Restore or remove it.")
    return RecordedSweep(directory, record)


def find_sweeps(directory: Path) -> list[Path]:
    """Return the directories of the sweeps of a directory of runs, or of one above it, the latest last."""
    found: list[Path] = []
    for parent in (directory.absolute(), *directory.absolute().parents):
        found += [path.parent for path in (parent / SWEEPS).glob(f"*/{SweepRecord.FILE}")]
    return sorted(found, key=lambda path: path.name)  # a name is a time, to the microsecond


def pending_runs(directory: Path) -> Iterator[tuple[list[Path], str, Outcome]]:
    """Yield where the run of each job may be that a scheduler has, the job's label, and what the scheduler says of it.

    Args:
        directory: where runs are listed; jobs of runs elsewhere are left out.
    """
    below = directory.resolve()
    for path in find_sweeps(directory):
        with contextlib.suppress(GeloraError, OSError):  # a record that is damaged, or of another user, hides no run
            yield from _pending_runs_of(read_sweep(path), below)


def _pending_runs_of(sweep: RecordedSweep, below: Path) -> list[tuple[list[Path], str, Outcome]]:
    """Return what `pending_runs` yields of one sweep."""

    def lies_below(job: SweepJob) -> bool:
        return any(place.is_relative_to(below) for place in sweep.directories(job))

    jobs = [job for job in sweep.record.jobs if lies_below(job)]
    if not any(sweep.may_be_pending(job) for job in jobs):
        return []
    # Without a warning: most listings are of sweeps that are over, and on machines without that scheduler.
    outcomes = zip(sweep.record.jobs, sweep.outcomes(warn=False), strict=True)
    return [
        (sweep.directories(job), job.label, outcome)
        for job, outcome in outcomes
        if job in jobs and outcome.is_pending and outcome.scheduled != UNKNOWN
    ]
