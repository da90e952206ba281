"""A job of a sweep, and what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gelora_cli.core.errors import StoppedError
from gelora_cli.core.registries import LAUNCHERS

if TYPE_CHECKING:
    from gelora_cli.config.schema import LaunchConfig, RunConfig


@dataclass(frozen=True)
class Outcome:
    """What came of a job: its exit code, its run directory if it has one, and the message of one that failed.

    Attributes:
        code: the exit code of the command.
        directory: the run directory, or that of a profile.
        message: the error of a job that failed.
        cost: what `dry_run=true` estimated, as the fields of `Estimate`.
        value: the reported value of the run.
        already_done: whether the run was done before.
        linked: whether another finished run has the same plan, so that this one was not trained again.
        seconds: the time that the job took.
        scheduled: what a scheduler says of a job that has not ended by itself: `queued`, `running`, `preempted`,
            `cancelled`, or `unknown` where it gives no answer; empty otherwise.
    """

    code: int
    directory: str | None = None
    message: str = ""
    cost: dict[str, Any] | None = None
    value: float | None = None
    already_done: bool = False
    linked: bool = False
    seconds: float = 0.0
    scheduled: str = ""

    @property
    def is_pending(self) -> bool:
        """Return whether a scheduler has the job, so that nothing came of it yet."""
        return bool(self.scheduled) and not self.code

    @property
    def state(self) -> str:
        """Return `done`, `already done`, `linked`, `estimated`, `failed`, `interrupted`, or what a scheduler says."""
        if self.scheduled:
            return self.scheduled
        if self.code:
            return "interrupted" if self.code == StoppedError.exit_code else "failed"
        if self.already_done:
            return "already done"
        if self.linked:
            return "linked"
        return "estimated" if self.cost else "done"


class JobActions(Protocol):
    """What a process can do with a job. No launcher may send these objects to another process."""

    def find_problem(self, job: Job) -> str:
        """Return what is wrong with the job's model or data, or with the devices here, or an empty string."""

    def run(self, job: Job) -> Outcome:
        """Run the job in this process."""

    def run_directories(self, job: Job) -> list[Path]:
        """Return where the run of a job may be: one directory, or one for each precision that its machine may have."""

    def read_outcome(
        self, job: Job, code: int, seconds: float, keep_waiting: Callable[[], bool] | None = None
    ) -> Outcome:
        """Read from its run directory what came of a job that another process has ended with this exit code.

        A job with code 0 may have ended on another machine, whose last files are seen here some time later.
        `keep_waiting` is asked again and again whether to wait for them; without it, they are waited for two minutes
        from now.
        """


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command of a sweep, with its completed configuration.

    Attributes:
        number: the position of the job in the sweep, from 1.
        count: the number of jobs in the sweep.
        label: the overrides in which the job differs from the others.
        command: the name of the command, such as `run`.
        config: the completed configuration.
        launch: the settings of the launcher; those of `config` are the default's.
        arguments: the command and the overrides of this job alone.
        typed: the command as it was typed, for all jobs of the sweep.
        actions: what a launcher can do with the job in its own process.
    """

    number: int
    count: int
    label: str
    command: str
    config: RunConfig
    launch: LaunchConfig
    arguments: tuple[str, ...]
    typed: tuple[str, ...]
    actions: JobActions

    @property
    def runs_here(self) -> bool:
        """Return whether its launcher runs it on this machine, whose devices it then needs."""
        return LAUNCHERS.get(self.launch.launcher).runs_here

    def command_line(self) -> list[str]:
        """Return the command line that runs this job alone.

        It is all that a scheduler has to store. It holds no object of ours, and results come from the run directory.
        """
        return [sys.executable, "-m", "gelora_cli", *self.arguments]
