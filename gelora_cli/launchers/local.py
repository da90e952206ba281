"""The default launcher: the jobs of a sweep in processes of their own on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gelora_cli.core.registries import LAUNCHERS
from gelora_cli.launchers.base import Launcher, announce
from gelora_cli.launchers.gpu_shares import GpuShares, share_gpus, visible_gpus
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.launchers.job_server import JobServer
from gelora_cli.launchers.parallel_server import ParallelServer

if TYPE_CHECKING:
    from gelora_cli.config.schema import LaunchConfig


@LAUNCHERS.register
class LocalProcesses(Launcher):
    """Fork each job from one warm server, so that the heavy libraries are imported once.

    `launch.parallel` jobs run side by side, or as many as there are GPUs for with `launch.gpus_per_run`. A dry run
    measures times, so that its jobs run one after the other.
    """

    name = "local"

    def __enter__(self) -> LocalProcesses:
        self._server: JobServer | None = None
        return self

    def __exit__(self, *error: object) -> None:
        """End the server."""
        if self._server is not None:
            self._server.__exit__(*error)

    def check(self, jobs: Sequence[Job]) -> list[str]:
        """Check the jobs in a process of the same server.

        Raises:
            GeloraError: the GPUs are not enough for so many jobs side by side.
        """
        return self._server_for(jobs).check(jobs)

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Run the jobs until a signal asks the sweep to stop, and yield the outcome of each in their order."""
        server = self._server_for(jobs)
        if isinstance(server, ParallelServer) and not any(job.config.dry_run for job in jobs):
            yield from server.run_all(jobs)
            return
        for job in jobs:
            if server.stopped:  # the signal ended the job before; no other one starts
                return
            announce(job)
            yield server.run(job)

    def _server_for(self, jobs: Sequence[Job]) -> JobServer:
        """Return the server, which starts with the first jobs that are known: they say how many run side by side."""
        if self._server is None:
            processes = max((job.config.launch.processes for job in jobs), default=1)
            shares = _gpu_shares(jobs[0].launch, processes) if jobs else GpuShares(1)
            alone = shares == GpuShares(1)
            self._server = (JobServer() if alone else ParallelServer(shares, processes)).__enter__()
        return self._server


def _gpu_shares(launch: LaunchConfig, processes: int) -> GpuShares:
    """Return how many jobs run side by side, and which GPUs each of them sees."""
    if launch.parallel in (None, 1) and launch.gpus_per_run is None:
        return GpuShares(1)  # without asking for GPUs
    return share_gpus(visible_gpus(), parallel=launch.parallel, gpus_per_run=launch.gpus_per_run, processes=processes)
