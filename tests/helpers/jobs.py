"""Jobs of a sweep for tests of launchers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gelora_cli.config.schema import LaunchConfig, RunConfig
from gelora_cli.launchers.job import Job, JobActions, Outcome


class NoActions:
    """Stands for the actions of a job that no launcher runs in its own process."""

    def find_problem(self, job: Job) -> str:
        raise AssertionError("checked in the process of the launcher")

    def run(self, job: Job) -> Outcome:
        raise AssertionError("run in the process of the launcher")

    def run_directories(self, job: Job) -> list[Path]:
        raise AssertionError("looked for in the process of the launcher")

    def read_outcome(
        self, job: Job, code: int, seconds: float, keep_waiting: Callable[[], bool] | None = None
    ) -> Outcome:
        raise AssertionError("read in the process of the launcher")


def make_job(
    *,
    command: str = "run",
    config: RunConfig | None = None,
    typed: tuple[str, ...] = (),
    number: int = 1,
    count: int = 1,
    actions: JobActions | None = None,
) -> Job:
    """Return a job without a model or data."""
    return Job(
        number=number,
        count=count,
        label=f"seed={number}",
        command=command,
        config=config or RunConfig(),
        launch=LaunchConfig(),
        arguments=(command, f"seed={number}"),
        typed=typed,
        actions=actions or NoActions(),
    )
