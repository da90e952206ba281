"""The launcher for a debugger: one job after the other, all of them in the process of the sweep."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from gelora_cli.core.errors import StoppedError
from gelora_cli.core.registries import LAUNCHERS
from gelora_cli.launchers.base import Launcher, announce
from gelora_cli.launchers.job import Job, Outcome


@LAUNCHERS.register
class InPlace(Launcher):
    """Run the jobs without any other process, so that a breakpoint in them stops.

    A crash of one job ends the sweep, and the memory of a job may stay in use.
    """

    name = "in_place"

    def check(self, jobs: Sequence[Job]) -> list[str]:
        """Check the jobs in this process."""
        return [job.actions.find_problem(job) for job in jobs]

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Run the jobs in this process until one is interrupted."""
        for job in jobs:
            announce(job)
            begun = time.monotonic()
            outcome = job.actions.run(job)
            yield replace(outcome, seconds=time.monotonic() - begun)
            if outcome.code == StoppedError.exit_code:
                return
