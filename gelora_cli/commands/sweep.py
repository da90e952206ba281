"""Sweeps (`-m`): every job is resolved before the first starts, and runs in a process of its own; a table ends it."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from gelora_cli.commands.base import Command, relative
from gelora_cli.commands.execution import execute
from gelora_cli.commands.failures import user_error
from gelora_cli.commands.hydra_app import compose_each
from gelora_cli.config.checks import list_problems, value_problems
from gelora_cli.config.complete import complete
from gelora_cli.config.files import parse_config
from gelora_cli.config.overrides import composed_config, restore_text
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.artifacts.manifest import Estimate
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.messages import escape_controls
from gelora_cli.core.registries import COMMANDS
from gelora_cli.launchers import jobs as job_server
from gelora_cli.launchers.jobs import JobServer, Outcome
from gelora_cli.launchers.workers import inside_workers

NO_INPUT = ("method", "budget", "seed", "train", "profile", "ranks", "preset_source")
"""Keys that a run's model and data don't depend on."""


@dataclass(frozen=True)
class SweepJob:
    """One job: the overrides in which it differs from the others, and its completed configuration."""

    label: str
    config: RunConfig

    def inputs(self) -> str:
        """Return a text that is the same for jobs with the same model and data."""
        return repr([getattr(self.config, field.name) for field in fields(self.config) if field.name not in NO_INPUT])


def run_sweep(command: Command[Any], flags: list[str], overrides: list[str], words: list[str]) -> int:
    """Do every job in a process of its own, report on all of them, and return the exit code.

    Raises:
        GeloraError: what is wrong with any of them, before the first is started.
    """
    if inside_workers():
        raise GeloraError("-m starts processes itself: give launch.processes=N and leave the launcher (torchrun) out")
    jobs = _resolve_jobs(command.config_name, flags, overrides)
    outcomes: list[Outcome] = []
    with JobServer() as server:
        _check_inputs(server, command.name, jobs)
        with contextlib.suppress(StoppedError):  # a signal before a job had begun
            for number, job in enumerate(jobs, start=1):
                if server.stopped:
                    break
                print(escape_controls(f"gelora: job {number} of {len(jobs)}: {job.label}"), file=sys.stderr, flush=True)
                outcomes.append(server.run(command.name, job.config, words))
    return report_sweep([job.label for job in jobs], outcomes)


def _resolve_jobs(schema: str, flags: list[str], overrides: list[str]) -> list[SweepJob]:
    """Compose and complete the configuration of every job.

    Raises:
        GeloraError: what is wrong with the values of any.
    """
    from hydra.core.hydra_config import HydraConfig

    given: list[list[str]] = []
    composed: list[Any] = []

    def collect(config: Any) -> None:
        given.append([restore_text(word) for word in HydraConfig.get().overrides.task])
        composed.append(config)

    with tempfile.TemporaryDirectory() as directory:  # for what Hydra itself writes of a sweep
        compose_each(schema, flags, [*overrides, f"hydra.sweep.dir={directory}"], collect)
    labels = _labels(given)
    configs: list[RunConfig] = [composed_config(config) for config in composed]
    problems: list[str] = []
    for label, config in zip(labels, configs, strict=True):
        problems += [f"{label}: {problem}" for problem in value_problems(config)]
    if problems:
        raise GeloraError(list_problems(problems))
    return [SweepJob(label, complete(config)) for label, config in zip(labels, configs, strict=True)]


def _labels(given: list[list[str]]) -> list[str]:
    """Return for each job those of its overrides that not all jobs have."""
    common = set(given[0]).intersection(*given[1:]) if len(given) > 1 else set()
    return [" ".join(word for word in words if word not in common) for words in given]


def _check_inputs(server: JobServer, command: str, jobs: list[SweepJob]) -> None:
    """Look for the model and read the data of every job, once for those that share them.

    Raises:
        GeloraError: what is wrong with any, under the first job that has it.
    """
    sharing: dict[str, list[SweepJob]] = {}
    for job in jobs:
        sharing.setdefault(job.inputs(), []).append(job)
    first_jobs = [group[0] for group in sharing.values()]
    messages = server.check(command, [job.config for job in first_jobs])
    problems = []
    for group, message in zip(sharing.values(), messages, strict=False):
        if message:
            others = f" (and {len(group) - 1} more)" if len(group) > 1 else ""
            problems.append(f"{group[0].label}{others}: {message}")
    if problems:
        raise GeloraError(f"{list_problems(problems)}\nNo job was started.")


def report_sweep(labels: Sequence[str], outcomes: Sequence[Outcome]) -> int:
    """Print the grid of what is done, then a row for each job with what happened to it; return the exit code."""
    from gelora_cli.report.grid import grid_table
    from gelora_cli.report.listing import Job, list_jobs

    done = [Path(outcome.directory) for outcome in outcomes if outcome.directory and not outcome.code]
    if table := grid_table(done):
        print(f"\n{table}")
    _report_costs([Estimate(**outcome.cost) for outcome in outcomes if outcome.cost])
    rows = [
        Job(label, outcome.state, outcome.value, outcome.seconds, _where(outcome))
        for label, outcome in zip(labels, outcomes, strict=False)
    ]
    rows += [Job(label, "not started") for label in labels[len(outcomes) :]]
    print(f"\n{list_jobs(rows)}", flush=True)
    counts = Counter(row.state for row in rows if row.state in ("failed", "interrupted", "not started"))
    if counts:
        said = ", ".join(f"{count} {state}" for state, count in counts.items())
        print(f"gelora: of {len(labels)} jobs {said}; the same command does what is left", file=sys.stderr)
    if len(outcomes) < len(labels):
        return StoppedError.exit_code
    return max((outcome.code for outcome in outcomes), default=0)


def _where(outcome: Outcome) -> str:
    """Return the run directory from here, and of a job that failed its message."""
    directory = str(relative(Path(outcome.directory))) if outcome.directory else ""
    return ": ".join(part for part in (directory, outcome.message) if part) or "-"


def _report_costs(costs: Sequence[Estimate]) -> None:
    """Print what a grid would cost in all; a profile that several runs share counts once."""
    left = [cost for cost in costs if not cost.done]
    if not costs:
        return
    profiles = {cost.profile: cost.profile_seconds for cost in left if cost.profile}
    work = sum(cost.train_seconds + cost.evaluation_seconds + cost.attach_seconds for cost in left)
    most = max((cost.processes for cost in left), default=1)
    peak = max((cost.peak_bytes for cost in left), default=0)
    print(f"\n{len(left)} of {len(costs)} runs to do:")
    print(f"  {len(profiles)} profiles, about {sum(profiles.values()):.0f} s in all, and their neighbour searches")
    print(f"  training and evaluation about {work / 60:.1f} min; {peak / 1e9:.2f} GB at the most")
    if most > 1:
        print(f"  minutes are those of one process; up to {most} share them")


def serve_jobs(descriptor: str, parent: str) -> int:
    """Be the process that a sweep forks its jobs from."""
    job_server.serve(int(descriptor), int(parent), answer)
    return 0


def answer(request: dict[str, Any]) -> Any:
    """Answer what a sweep asks for: the problems of all its jobs, or the outcome of one."""
    command = COMMANDS.get(request["command"])
    if "check" in request:
        return [_input_problem(command, parse_config(text)) for text in request["check"]]
    return asdict(execute(command, parse_config(request["config"]), [], request["words"]))


def _input_problem(command: Command[Any], config: RunConfig) -> str:
    """Return what is wrong with a job's model or data, or an empty string."""
    from gelora_cli.pipeline.inputs import resolve_inputs

    try:
        resolve_inputs(config, require_labels=command.needs_labels)
    except Exception as error:
        return str(user_error(error))
    return ""
