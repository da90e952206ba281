"""The default launcher: one job after the other, each in a process of its own on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gelora_cli.core.registries import LAUNCHERS
from gelora_cli.launchers.base import Launcher, announce
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.launchers.job_server import JobServer


@LAUNCHERS.register
class LocalProcesses(Launcher):
    """Fork each job from one warm server, so that the heavy libraries are imported once."""

    name = "local"

    def __enter__(self) -> LocalProcesses:
        self._server = JobServer().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """End the server."""
        self._server.__exit__(*error)

    def check(self, jobs: Sequence[Job]) -> list[str]:
        """Check the jobs in a process of the same server."""
        return self._server.check(jobs)

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Run the jobs one after the other until a signal asks the sweep to stop."""
        for job in jobs:
            if self._server.stopped:  # the signal ended the job before; no other one starts
                return
            announce(job)
            yield self._server.run(job)
