"""Jobs of a sweep as tasks of Ray, on one machine or a cluster."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from gelora_cli.config.keys import key
from gelora_cli.config.schema import LaunchConfig
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.install import install_gelora
from gelora_cli.core.messages import escape_controls, first_line
from gelora_cli.core.registries import LAUNCHERS
from gelora_cli.launchers import run_outcome
from gelora_cli.launchers.base import Launcher
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.launchers.ray_job import JobKilledError, run_command
from gelora_cli.launchers.signals import SignalHandler, handle_signals

WAIT_SECONDS = 0.5
"""How long the sweep waits for a job before it looks whether a signal has come."""
STORE_BYTES = 80 * 2**20
"""Memory of Ray's object store in a cluster of our own: the smallest that it takes, since nothing is stored."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_COLOR_PREFIX": "0",
}
"""Environment variables of Ray: it reports no use, uploads no working directory where `uv run` started us, and shows
the lines of every job, also where other jobs print the same, without colours."""


@dataclass
class RayConfig(LaunchConfig):
    """How jobs are spread over a Ray cluster; `gpus_per_run` holds here, too."""

    address: str = key(
        "auto",
        help="auto: the cluster of RAY_ADDRESS or of this machine, else a new one; local; HOST:PORT; ray://HOST:PORT",
        identity=False,
    )
    cpus_per_run: int | None = key(
        None, help="CPU cores of each job, shared by its processes; null: one for each process", low=1, identity=False
    )
    retries: int = key(
        3,
        help="how often a job is started again whose worker or node was lost, or that was killed",
        low=0,
        identity=False,
    )


@LAUNCHERS.register
class RayTasks(Launcher):
    """Run each job as a task of Ray Core: a command line goes to a worker, and an exit code comes back.

    Results are read from the run directories, which all nodes must reach under the same path.
    """

    name = "ray"
    config_class = RayConfig
    runs_here = False

    def __enter__(self) -> RayTasks:
        self._connected = False
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the cluster; one of our own ends."""
        if self._connected:
            _import_ray().shutdown()

    def check(self, jobs: Sequence[Job]) -> list[str]:
        """Check that some node has what a job needs, then model and data of the jobs.

        Raises:
            GeloraError: Ray is not installed, there is no such cluster, or no node has enough.
        """
        launch = _settings(jobs[0])
        if (launch.parallel or 1) > 1:
            raise GeloraError(
                f"launch.parallel={launch.parallel}: with launch=ray the cores and GPUs of the cluster say how many "
                "jobs run side by side; leave it out, or give launch.cpus_per_run"
            )
        self._connect(launch)
        needed = resources_of(jobs, has_gpus=bool(_import_ray().cluster_resources().get("GPU")))
        check_nodes(_import_ray().nodes(), needed)
        return super().check(jobs)

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Run the jobs wherever there is room, and yield the outcome of each in their order."""
        ray = _import_ray()
        self._connect(_settings(jobs[0]))
        needed = resources_of(jobs, has_gpus=bool(ray.cluster_resources().get("GPU")))
        task = ray.remote(run_command)
        retries = _settings(jobs[0]).retries
        with handle_signals() as stop, stop.defer_interrupts():
            print(f"gelora: {len(jobs)} jobs go to Ray, {needed}", file=sys.stderr, flush=True)
            sent = []
            tasks: dict[tuple[str, ...], Any] = {}  # jobs that do the same share one: two would be in each other's way
            for job in jobs:
                options = {"num_cpus": needed.cpus, "num_gpus": needed.gpus, "name": f"job {job.number}"}
                again = {"max_retries": retries, "retry_exceptions": [JobKilledError]}
                arguments = job.command_line()[1:]
                if job.arguments not in tasks:
                    prepared = task.options(**options, **again)
                    tasks[job.arguments] = prepared.remote(arguments, str(Path.cwd()), needed.variables)
                sent.append(tasks[job.arguments])
            yield from _outcomes(ray, jobs, sent, stop)

    def _connect(self, launch: RayConfig) -> None:
        """Join the cluster, or start one on this machine.

        Raises:
            GeloraError: there is none at this address.
        """
        if self._connected:
            return
        ray = _import_ray()
        own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
        address = None if launch.address == "auto" else launch.address
        joins = launch.address not in ("auto", "local")
        try:
            try:
                ray.init(address=address, logging_level=logging.WARNING, **({} if joins else own))
            except ValueError:  # a cluster that is there already takes no settings
                ray.init(address=address, logging_level=logging.WARNING)
        except Exception as error:
            raise GeloraError(
                f"launch.address={launch.address}: no Ray cluster answers there ({first_line(error)}); start one by "
                "ray start --head, or give launch.address=local for one of this machine alone"
            ) from error
        self._connected = True


@dataclass(frozen=True)
class JobResources:
    """What each job takes of a node.

    Attributes:
        cpus: CPU cores, which Ray counts but does not enforce.
        gpus: GPUs that the job sees; below 1 several jobs share one.
        threads: the threads that each process of a job computes with, as OMP_NUM_THREADS.
    """

    cpus: int
    gpus: float
    threads: str

    @property
    def variables(self) -> dict[str, str]:
        """Return the environment variables of a job; Ray would choose the threads itself."""
        return {"OMP_NUM_THREADS": self.threads}

    def __str__(self) -> str:
        return f"{self.cpus} CPU and {self.gpus:g} GPU each, OMP_NUM_THREADS={self.threads}"


def resources_of(jobs: Sequence[Job], *, has_gpus: bool) -> JobResources:
    """Return what each job takes: by default a core for each process, and a GPU where the cluster has any.

    Raises:
        GeloraError: a job has more processes than GPUs.
    """
    launch = _settings(jobs[0])
    processes = max(job.config.launch.processes for job in jobs)
    cpus = launch.cpus_per_run or processes
    gpus = launch.gpus_per_run
    if gpus is None:
        gpus = float(processes) if has_gpus else 0.0
    elif processes > max(1.0, gpus):
        raise GeloraError(
            f"launch.processes={processes}: each process needs a GPU to itself, and launch.gpus_per_run={gpus:g}. Take "
            f"launch.gpus_per_run={processes}"
        )
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cpus // processes))
    return JobResources(cpus, gpus, threads)


def check_nodes(nodes: Sequence[dict[str, Any]], needed: JobResources) -> None:
    """Refuse jobs that no node has room for, which Ray would keep waiting for ever.

    Raises:
        GeloraError: with what the nodes have.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if any(node.get("CPU", 0) >= needed.cpus and node.get("GPU", 0) >= needed.gpus for node in alive):
        return
    have = "; ".join(f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in alive) or "none"
    raise GeloraError(
        f"launch.cpus_per_run={needed.cpus} launch.gpus_per_run={needed.gpus:g}: no node of the Ray cluster has so "
        f"many. Its nodes have: {have}"
    )


def _outcomes(ray: Any, jobs: Sequence[Job], sent: Sequence[Any], stop: SignalHandler) -> Iterator[Outcome]:
    """Yield the outcome of each job in order; a signal cancels all, and those that run stop with a checkpoint."""
    tasks = SentTasks(ray, jobs, sent, stop)
    unstarted = 0
    for job, reference in zip(jobs, sent, strict=True):
        while reference not in tasks.ended:
            tasks.look(WAIT_SECONDS)
        outcome = tasks.outcome(job, reference)
        if outcome is None:
            unstarted += 1
            continue
        for _ in range(unstarted):  # they stand before one that had begun
            yield Outcome(StoppedError.exit_code, None, "interrupted before it was started")
        unstarted = 0
        yield outcome


class SentTasks:
    """The tasks of the jobs of a sweep, some of which share one.

    Attributes:
        ended: when each task that has ended was seen to, by the monotonic clock of this process.
    """

    def __init__(self, ray: Any, jobs: Sequence[Job], sent: Sequence[Any], stop: SignalHandler) -> None:
        self._ray = ray
        self._stop = stop
        self._jobs: dict[Any, Job] = {}  # the first job of each task that has not ended
        for job, reference in zip(jobs, sent, strict=True):
            self._jobs.setdefault(reference, job)
        self._cancelled = False
        self.ended: dict[Any, float] = {}

    def look(self, seconds: float = 0.0) -> None:
        """See which tasks have ended, or wait so long until one has; after a signal, cancel the others."""
        waiting = list(self._jobs)
        if not waiting:
            return
        ended, waiting = self._ray.wait(waiting, num_returns=1 if seconds else len(waiting), timeout=seconds)
        for reference in ended:
            self.ended[reference] = time.monotonic()
            _announce_end(self._jobs.pop(reference))
        if self._stop.requested and not self._cancelled:
            self._cancelled = True
            for reference in waiting:
                self._ray.cancel(reference)

    def outcome(self, job: Job, reference: Any) -> Outcome | None:
        """Return what came of a job whose task has ended; None of one that was cancelled before it began."""
        try:
            code, seconds = self._ray.get(reference)
        except self._ray.exceptions.TaskCancelledError:
            return None
        except self._ray.exceptions.RayError as error:  # its worker or node was lost once too often
            lost = job.actions.read_outcome(job, 1, 0.0)
            return replace(lost, message=f"Ray gave it up: {first_line(error)}")

        def keep_waiting() -> bool:
            self.look()  # others end meanwhile, and their files have as long from then
            is_over = time.monotonic() - self.ended[reference] >= run_outcome.FILES_SECONDS
            return not is_over and not self._stop.requested

        outcome = job.actions.read_outcome(job, code, seconds, keep_waiting)
        if outcome.code and not code and self._stop.requested:
            message = "it ended without an error; interrupted before its finished run was seen here"
            return replace(outcome, code=StoppedError.exit_code, message=message)
        return outcome


def _announce_end(job: Job) -> None:
    print(
        escape_controls(f"gelora: job {job.number} of {job.count} has ended: {job.label}"), file=sys.stderr, flush=True
    )


def _settings(job: Job) -> RayConfig:
    return cast(RayConfig, job.launch)


def _import_ray() -> Any:
    """Import Ray with the settings that it reads then.

    Raises:
        GeloraError: it is not installed.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise GeloraError(f"launch=ray needs the package ray: {install_gelora('ray')}") from error
    return ray
