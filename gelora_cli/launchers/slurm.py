"""The launcher of a cluster with Slurm: the jobs of a sweep as one array, submitted by submitit.

The machine that submits needs no GPU and may be left: the sweep is recorded below `runs_dir`, and `gelora sweep` says
at any time what came of it. submitit stores a command line for each job, and no object of a run.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from gelora_cli.config.schema import LaunchConfig
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.install import install_gelora
from gelora_cli.core.messages import escape_controls, first_line
from gelora_cli.core.registries import LAUNCHERS
from gelora_cli.launchers.base import Launcher
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.launchers.job_state import QueueState
from gelora_cli.launchers.slurm_job import CommandLine
from gelora_cli.launchers.slurm_queue import queue_states
from gelora_cli.launchers.slurm_schema import SlurmConfig
from gelora_cli.launchers.sweep_record import job_identity, new_sweep, planned_jobs, submission_lock, write_sweep
from gelora_cli.launchers.sweep_state import RecordedSweep

if TYPE_CHECKING:
    import submitit

JOBS = "jobs"
"""In the directory of a sweep: what submitit stores, and the logs of the jobs."""


@LAUNCHERS.register
class SlurmArray(Launcher):
    """Submit the jobs that are not done and not in the queue already, and wait for them with `launch.wait=true`."""

    name = "slurm"
    config_class: ClassVar[type[LaunchConfig] | None] = SlurmConfig
    runs_here = False

    def check(self, jobs: Sequence[Job]) -> list[str]:
        """Check the jobs in this process, which has nothing else to do.

        Raises:
            GeloraError: submitit or Slurm is not there.
        """
        check_installed()
        return [job.actions.find_problem(job) for job in jobs]

    def queue_states(self, job_ids: Sequence[str]) -> Mapping[str, QueueState]:
        """Return what Slurm says of jobs, by their id."""
        return queue_states(job_ids)

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Submit the jobs, and yield the outcome of each in their order: with `wait` once it is known, else now.

        Raises:
            GeloraError: Slurm refuses them, or their settings differ.
        """
        settings = common_settings(jobs)
        sweep = submit(jobs, settings)
        if settings.wait:
            yield from wait_for(sweep, settings.poll_seconds)
        else:
            yield from sweep.outcomes()


def check_installed() -> None:
    """Check that jobs can be submitted from here.

    Raises:
        GeloraError: submitit or Slurm is not there.
    """
    problems = []
    if importlib.util.find_spec("submitit") is None:
        problems.append(f"launch=slurm needs the package submitit: {install_gelora('slurm')}")
    if missing := [name for name in ("sbatch", "squeue", "srun") if shutil.which(name) is None]:
        problems.append(
            f"launch=slurm: {', '.join(missing)} not on PATH here. Give the command where Slurm is, such as "
            "the login node of a cluster, or leave launch=slurm out to run the jobs on this machine"
        )
    if problems:
        raise GeloraError("\n".join(problems))


def common_settings(jobs: Sequence[Job]) -> SlurmConfig:
    """Return the settings of Slurm, which all jobs of an array share.

    Raises:
        GeloraError: they differ between jobs.
    """
    settings = [cast(SlurmConfig, job.launch) for job in jobs]
    for item in fields(SlurmConfig):
        values = dict.fromkeys(str(getattr(launch, item.name)) for launch in settings)
        if len(values) > 1 and item.name != "processes":
            given = ",".join(values)
            raise GeloraError(f"launch.{item.name}={given}: the jobs of an array share it; give one value")
    return settings[0]


def submit(jobs: Sequence[Job], settings: SlurmConfig) -> RecordedSweep:
    """Submit the jobs that are not done and not in the queue already, and return the record of all.

    Raises:
        GeloraError: Slurm refuses them.
    """
    with submission_lock(jobs):  # the same command given twice at once submits its jobs once
        sweep = new_sweep(jobs, SlurmArray.name)
        planned, queued = planned_jobs(sweep, jobs)
        doing: dict[tuple[str, ...], int] = {}  # what is to be done, to the first job that does it
        for each in planned:
            if not each.was_done and not each.scheduler_id:
                doing.setdefault(job_identity(sweep, each), each.number)
        todo = [*doing.values()]
        try:
            ids = submit_array(sweep, [job for job in jobs if job.number in todo], settings) if todo else []
        except GeloraError:
            shutil.rmtree(sweep.directory, ignore_errors=True)  # what submitit has stored there
            raise
        submitted = dict(zip(todo, ids, strict=True))
        recorded = []
        for each in planned:
            if each.was_done or each.scheduler_id:
                recorded.append(each)
            else:
                number = doing[job_identity(sweep, each)]  # jobs that do the same would be in each other's way
                recorded.append(replace(each, scheduler_id=submitted[number], folder=JOBS))
        sweep = write_sweep(sweep, recorded)
    done = sum(job.was_done for job in recorded)
    parts = [f"{len(ids)} submitted as Slurm job {ids[0].partition('_')[0]}" if ids else "none submitted"]
    parts += [f"{queued} in the queue already"] if queued else []
    parts += [f"{done} done already"] if done else []
    print(f"gelora: of {len(jobs)} jobs {', '.join(parts)}", file=sys.stderr)
    print(
        f"gelora: what came of them, at any time: gelora sweep {shlex.quote(shown(sweep.directory))}", file=sys.stderr
    )
    return sweep


def submit_array(sweep: RecordedSweep, jobs: Sequence[Job], settings: SlurmConfig) -> list[str]:
    """Submit jobs as one array, and return the id of each.

    Raises:
        GeloraError: sbatch refuses it, or the path of the sweep can't stand in its script.
    """
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    folder = sweep.directory / JOBS
    if not str(folder).isprintable() or "%" in str(folder):  # it becomes a line of the script, where % has a meaning
        raise GeloraError(f"{folder}: Slurm can't write logs below a directory with % or a line break; rename it")
    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=settings.requeues)
    executor.update_parameters(**slurm_parameters(settings, f"gelora-{sweep.directory.name}"))
    try:
        with executor.batch():
            submitted: list[submitit.Job[None]] = [executor.submit(CommandLine(job.command_line())) for job in jobs]
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        raise GeloraError(f"Slurm refused the jobs: {_reason(error)}. None was submitted.") from error
    return [job.job_id for job in submitted]


def slurm_parameters(settings: SlurmConfig, name: str) -> dict[str, object]:
    """Return what submitit writes into the script of sbatch; what is None stays the cluster's default."""
    parameters: dict[str, object | None] = {
        "job_name": name,
        "partition": settings.partition,
        "time": settings.time,
        "nodes": 1,
        "ntasks_per_node": 1,  # worker processes are started from inside
        "gpus_per_node": settings.gpus or None,
        "cpus_per_task": settings.cpus,
        "mem": settings.memory,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "setup": settings.setup or None,
        "array_parallelism": settings.array_parallelism,
        "signal_delay_s": settings.stop_seconds,
        "stderr_to_stdout": True,  # one log of a job
        "additional_parameters": {"requeue": True},
    }
    return {name: value for name, value in parameters.items() if value is not None}


def wait_for(sweep: RecordedSweep, poll_seconds: float) -> Iterator[Outcome]:
    """Yield the outcome of each job in their order once it is known, and say what changes meanwhile.

    After Ctrl-C the jobs go on. Their states of that moment are yielded.

    Raises:
        StoppedError: after Ctrl-C.
    """
    known = 0
    states: dict[int, str] = {}  # by the number of the job
    try:
        while True:
            outcomes = sweep.outcomes()
            for job, outcome in zip(sweep.record.jobs, outcomes, strict=True):
                if outcome.state != states.get(job.number):
                    said = escape_controls(f"gelora: job {job.number}: {outcome.state}: {job.label}")
                    print(said, file=sys.stderr, flush=True)
                    states[job.number] = outcome.state
            while known < len(outcomes) and not outcomes[known].is_pending:
                known += 1
                yield outcomes[known - 1]
            if known == len(outcomes):
                return
            time.sleep(poll_seconds)
    except KeyboardInterrupt:
        ids = dict.fromkeys(job.scheduler_id.partition("_")[0] for job in sweep.record.jobs if job.scheduler_id)
        print(
            f"\ngelora: the jobs go on. To see them: gelora sweep {shlex.quote(shown(sweep.directory))}; to stop them: "
            f"scancel {' '.join(ids)}",
            file=sys.stderr,
        )
        yield from sweep.outcomes()[known:]
        raise StoppedError("interrupted while waiting; the jobs go on") from None


def shown(directory: Path) -> str:
    """Return the path of a sweep as short as it can be typed."""
    relative = os.path.relpath(directory)
    return str(directory) if relative.startswith("..") else relative


def _reason(error: Exception) -> str:
    """Return what sbatch printed, or the first line of the error."""
    lines = [line.strip() for line in str(error).splitlines() if "error:" in line]
    return lines[-1].partition("error:")[2].strip() if lines else first_line(error)
