"""The keys of `launch=slurm`: what a job asks of the cluster, and how the sweep waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gelora_cli.config.keys import key
from gelora_cli.config.schema import LaunchConfig
from gelora_cli.core.messages import quote


@dataclass
class SlurmConfig(LaunchConfig):
    """What each job of an array asks of Slurm. What is None is the cluster's own default."""

    partition: str | None = key(None, help="Slurm's partition; null: the cluster's default", identity=False)
    time: int = key(60, help="minutes of a job until it stops with a checkpoint and is requeued", low=1, identity=False)
    gpus: int = key(0, help="GPUs of a job, all on one machine", low=0, identity=False)
    cpus: int | None = key(None, help="CPU cores of a job; null: the cluster's default", low=1, identity=False)
    memory: str | None = key(None, help="memory of a job, such as 16G; null: the cluster's default", identity=False)
    account: str | None = key(None, help="the account that pays; null: yours by default", identity=False)
    qos: str | None = key(None, help="quality of service; null: the cluster's default", identity=False)
    constraint: str | None = key(None, help="features that the machine must have; null: none", identity=False)
    setup: list[str] = key(
        [], help="lines of shell before the job, as ['module load cuda', 'export OMP_NUM_THREADS=8']", identity=False
    )
    array_parallelism: int = key(256, help="the most jobs of the array that run at a time", low=1, identity=False)
    stop_seconds: int = key(
        120, help="seconds before the time is over in which a job writes its last checkpoint", low=1, identity=False
    )
    requeues: int = key(
        100, help="how often a job whose time is over is put into the queue again", low=0, identity=False
    )
    wait: bool = key(
        True, help="wait for the jobs and print the table; false: return at once (gelora sweep)", identity=False
    )
    poll_seconds: float = key(10.0, help="seconds between two questions to Slurm", low=0.1, identity=False)

    def problems(self) -> Iterator[str]:
        """Yield what Slurm could not be given."""
        if (self.parallel or 1) > 1:
            yield (
                f"launch.parallel={self.parallel} is for jobs on this machine; for launch=slurm give "
                f"launch.array_parallelism={self.parallel}"
            )
        if self.gpus_per_run is not None:
            yield f"launch.gpus_per_run={self.gpus_per_run:g} is for jobs on this machine; for Slurm give launch.gpus=N"
        if self.stop_seconds >= 60 * self.time:
            yield (
                f"launch.stop_seconds={self.stop_seconds} leaves nothing of launch.time={self.time} (minutes); give "
                "more time, or fewer seconds"
            )
        for name in ("partition", "memory", "account", "qos", "constraint"):
            value = getattr(self, name)
            # Each becomes a line of the script that sbatch reads.
            if value is not None and (not value.strip() or not value.isprintable()):
                yield f"launch.{name}={quote(value)}: accepted is one line of text, or null for the cluster's default"
