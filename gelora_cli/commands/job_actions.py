"""What a process does with a job of a sweep: check it, run it, and read what came of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gelora_cli.commands.base import Command
from gelora_cli.commands.execution import execute
from gelora_cli.commands.failures import user_error
from gelora_cli.config.files import parse_config
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.processes import describe_exit_status
from gelora_cli.core.registries import COMMANDS
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.launchers.job_server import serve
from gelora_cli.launchers.run_outcome import (
    finished_outcome,
    is_seen_done,
    latest_run,
    unseen_run,
    wait_for_run,
    wait_from_now,
)

if TYPE_CHECKING:
    from gelora_cli.pipeline.run_directories import RunDirectories


@dataclass(frozen=True)
class CommandActions:
    """What a launcher can do with the jobs of a command in its own process (see `launchers.job.JobActions`).

    Attributes:
        command: the command of all jobs of the sweep.
        begun: when the sweep began; a run that was done before has an earlier time.
    """

    command: Command[Any]
    begun: str

    def find_problem(self, job: Job) -> str:
        """Return what is wrong with the job's model or data, or with the devices here, or an empty string."""
        return _input_problem(self.command, job.config, check_devices=job.runs_here)

    def run(self, job: Job) -> Outcome:
        """Run the job in this process."""
        return execute(self.command, job.config, [], list(job.typed))

    def run_directories(self, job: Job) -> list[Path]:
        """Return where the run of a job may be: one directory, or one for each precision that its machine may have."""
        if not self.command.writes_run:
            return []
        from gelora_cli.core.devices import resolve_precision

        precisions = [job.config.precision]
        if precisions == ["auto"]:
            precisions = [resolve_precision("auto")] if job.runs_here else ["bf16", "float32"]
        return self._directories.of(job.config, precisions)

    @functools.cached_property
    def _directories(self) -> RunDirectories:
        from gelora_cli.pipeline.run_directories import RunDirectories

        return RunDirectories()

    def read_outcome(
        self, job: Job, code: int, seconds: float, keep_waiting: Callable[[], bool] | None = None
    ) -> Outcome:
        """Read from its run directory what came of a job that another process has ended."""
        if not self.command.writes_run:
            return Outcome(code, message=describe_exit_status(code) if code else "", seconds=seconds)
        directories = self.run_directories(job)
        if code:
            return self._failed_outcome(directories, code, seconds)
        keep_waiting = keep_waiting or wait_from_now()
        wait_for_run(directories, self.begun, forced=job.config.force, keep_waiting=keep_waiting)
        latest = latest_run(filter(is_seen_done, directories))
        if latest is None:
            return Outcome(1, message=unseen_run(directories), seconds=seconds)
        directory, manifest = latest
        return finished_outcome(directory, manifest, already_done=manifest.updated < self.begun, seconds=seconds)

    def _failed_outcome(self, directories: Sequence[Path], code: int, seconds: float) -> Outcome:
        """Return the outcome of a job that ended with an error; `run.json` of an earlier attempt says nothing of it."""
        latest = latest_run(directories, since=self.begun)
        if latest is None:
            message = f"it wrote to no run directory and {describe_exit_status(code)}; see its output"
            return Outcome(code, message=message, seconds=seconds)
        directory, manifest = latest
        message = manifest.error or f"it {describe_exit_status(code)} before the run was done"
        return Outcome(code, str(directory), message, seconds=seconds)


def serve_jobs(descriptors: str, parent: str) -> int:
    """Be the process that a sweep forks its jobs from."""
    serve([int(number) for number in descriptors.split(",")], int(parent), answer)
    return 0


def answer(request: dict[str, Any]) -> Any:
    """Answer a request of a sweep to its server: the problems of all its jobs, or the outcome of one."""
    command = COMMANDS.get(request["command"])
    if "check" in request:
        configs = [parse_config(text, keys=command.keys) for text in request["check"]]
        return [_input_problem(command, config, check_devices=request["devices"]) for config in configs]
    config = parse_config(request["config"], keys=command.keys)
    return asdict(execute(command, config, [], request["words"]))


def _input_problem(command: Command[Any], config: RunConfig, *, check_devices: bool) -> str:
    """Return what is wrong with a job's model or data, or with the devices here, or an empty string."""
    from gelora_cli.pipeline.inputs import resolve_inputs

    try:
        resolve_inputs(config, signals=command.measured_signals(config), check_devices=check_devices)
    except Exception as error:
        return str(user_error(error))
    return ""
