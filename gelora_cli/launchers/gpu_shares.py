"""Which GPUs each of the jobs side by side on one machine sees."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.processes import ask_torch

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable with the numbers or UUIDs of the GPUs that a process sees."""
DRIVER_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""What a driver of GPUs shows: NVIDIA's, that of WSL, AMD's. Without any of them nobody is asked for GPUs."""
COUNT = "torch.cuda.device_count()"


@dataclass(frozen=True)
class GpuShares:
    """How many jobs run side by side, and the GPUs of each.

    Attributes:
        jobs: the number of jobs side by side.
        visible: for each of them the value of CUDA_VISIBLE_DEVICES; empty where all of them see what the sweep sees.
    """

    jobs: int
    visible: tuple[str, ...] = ()

    def environment(self, place: int) -> dict[str, str]:
        """Return the environment variables of the job in a place, counted from 0."""
        return {VISIBLE: self.visible[place]} if self.visible else {}


def share_gpus(gpus: tuple[str, ...], *, parallel: int | None, gpus_per_run: float | None, processes: int) -> GpuShares:
    """Share out the GPUs among the jobs side by side.

    Without `gpus_per_run`, N jobs side by side share all GPUs evenly, and a job that runs alone sees all of them.
    With it, as many jobs run side by side as the GPUs are enough for, or `parallel` of them if that is given.

    Args:
        gpus: the names of the GPUs that this process sees.
        parallel: `launch.parallel`; None where it is not given.
        gpus_per_run: `launch.gpus_per_run`; 1/k lets k jobs share a GPU.
        processes: the worker processes of each job, `launch.processes`.

    Raises:
        GeloraError: with the numbers that fit.
    """
    count = len(gpus)
    if gpus_per_run is None:
        parallel = parallel or 1
        if parallel == 1 or not gpus:
            return GpuShares(parallel)
        if parallel > count:
            sharing = -(-parallel // count)  # rounded up
            raise GeloraError(
                f"launch.parallel={parallel}: this machine shows {count} GPUs, and each job has one to itself. Take "
                f"launch.parallel={count}, or let {sharing} jobs share a GPU by launch.gpus_per_run={1 / sharing:.3g}"
            )
        gpus_per_run = count // parallel
    sharing, size = _whole_share(gpus_per_run)
    if not gpus:
        raise GeloraError(f"launch.gpus_per_run={gpus_per_run:g}: this machine shows no GPU; leave it out")
    most = count // size * sharing
    if most == 0:
        raise GeloraError(f"launch.gpus_per_run={size}: this machine shows {count} GPUs; accepted is 1 to {count}")
    jobs = parallel or most
    if jobs > most:
        raise GeloraError(
            f"launch.parallel={jobs} launch.gpus_per_run={gpus_per_run:g}: {count} GPUs are enough for {most} jobs "
            f"side by side. Take launch.parallel={most}"
        )
    if processes > size:
        raise GeloraError(
            f"launch.processes={processes}: each job side by side has {size} of {count} GPUs, and each process needs "
            f"one to itself. Take launch.processes={size}, or launch.gpus_per_run={processes}"
        )
    groups = [",".join(gpus[start : start + size]) for start in range(0, count - size + 1, size)]
    return GpuShares(jobs, tuple(groups[place % len(groups)] for place in range(jobs)))


def _whole_share(gpus_per_run: float) -> tuple[int, int]:
    """Return how many jobs share a GPU, and how many GPUs each job has; one of the two is 1.

    Raises:
        GeloraError: neither is a whole number.
    """
    sharing = round(1 / gpus_per_run)
    if gpus_per_run < 1 and abs(sharing * gpus_per_run - 1) < 0.02:  # 0.33 stands for a third
        return sharing, 1
    if gpus_per_run >= 1 and gpus_per_run == int(gpus_per_run):
        return 1, int(gpus_per_run)
    raise GeloraError(
        f"launch.gpus_per_run={gpus_per_run:g}: accepted are whole numbers of GPUs for each job, and 0.5, 0.33, 0.25, "
        "... for jobs that share one"
    )


def visible_gpus() -> tuple[str, ...]:
    """Return the names of the GPUs that this process sees, as CUDA_VISIBLE_DEVICES takes them.

    This process must not ask CUDA itself: what it forks could not use a GPU any more. So another process asks.

    Raises:
        RunError: it gives no answer in time.
    """
    if not any(Path(name).exists() for name in DRIVER_FILES):
        return ()
    count = int(ask_torch(COUNT) or 0)
    given = os.environ.get(VISIBLE)
    if given is None:
        return tuple(map(str, range(count)))
    names = tuple(name.strip() for name in given.split(","))
    # Of several parts of divided GPUs CUDA shows a process one alone. Jobs that see one each can use all of them.
    divided = count > 0 and all(name.startswith("MIG-") for name in names)
    return names if divided else names[:count]
