"""Where the work of a command is done: in this process, in workers, or beside the processes of a launcher."""

from __future__ import annotations

from collections.abc import Callable

from gelora_cli.core.processes import limit_omp_threads, offline_workers
from gelora_cli.launchers.torchrun import broadcast_command, inside_workers
from gelora_cli.launchers.workers import run_workers


def work_or_launch(arguments: list[str], processes: int, work: Callable[[], None]) -> None:
    """Work in this process, or start N workers; where an outer launcher already did, this one leads them."""
    # Before `processes`: under torchrun the number of processes is the launcher's, and none may be started here.
    if inside_workers():
        with broadcast_command(arguments):
            work()
        return
    if processes == 1:
        work()
        return
    with limit_omp_threads(processes), offline_workers():
        run_workers(arguments, processes)
