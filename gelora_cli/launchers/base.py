"""What a launcher is: it runs the jobs of a sweep somewhere, and returns what came of them."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from gelora_cli.core.messages import escape_controls
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.launchers.job_server import JobServer
from gelora_cli.launchers.job_state import QueueState

if TYPE_CHECKING:
    from gelora_cli.config.schema import LaunchConfig

DEFAULT = "local"
"""The launcher of a sweep that names none."""


class Launcher(ABC):
    """A way to run the jobs of a sweep, registered in `core.registries.LAUNCHERS`.

    A sweep enters the launcher, has it check all jobs, and then run them. What a launcher holds for the length of a
    sweep, such as a server, it opens in `__enter__` and closes in `__exit__`.

    Attributes:
        name: the value of `launch.launcher`.
        config_class: the subclass of `LaunchConfig` with the launcher's own keys, which it reads from `job.launch`.
        runs_here: whether the jobs run on this machine. The machine that only sends them away needs no GPU and no
            core for each process: `check` leaves the devices out then, and each job looks at them where it runs.
    """

    name: ClassVar[str]
    config_class: ClassVar[type[LaunchConfig] | None] = None
    runs_here: ClassVar[bool] = True

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:  # noqa: B027 - most launchers hold nothing
        """Close what `__enter__` opened."""

    def check(self, jobs: Sequence[Job]) -> list[str]:
        """Return for each job what is wrong with its model or data, or an empty string.

        By default a process of its own does that, so that the memory it takes is free before any job starts.

        Raises:
            StoppedError: a signal came before all were checked.
        """
        with JobServer() as server:
            return server.check(jobs)

    def queue_states(self, job_ids: Sequence[str]) -> Mapping[str, QueueState]:
        """Return what the scheduler says of submitted jobs, by their id; one that it has forgotten is missing.

        Raises:
            GeloraError: it gives no answer.
        """
        return {}

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> Iterable[Outcome]:
        """Run the jobs, and return or yield the outcome of each in their order.

        A launcher that runs them one after the other yields each outcome at once: the final table of an interrupted
        sweep then has it. Outcomes that are missing at the end belong to jobs that were not started.

        Raises:
            StoppedError: a signal came before a job had begun.
        """


def announce(job: Job) -> None:
    """Print which job of the sweep starts."""
    print(escape_controls(f"gelora: job {job.number} of {job.count}: {job.label}"), file=sys.stderr, flush=True)
