"""Sweeps (`-m`): every job is checked before the first starts, a launcher runs them, and a table shows the outcomes."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from gelora_cli.commands.base import Command, relative
from gelora_cli.commands.hydra_app import compose_each
from gelora_cli.commands.job_actions import CommandActions
from gelora_cli.config.checks import list_problems, value_problems
from gelora_cli.config.complete import complete
from gelora_cli.config.composing import composed_config
from gelora_cli.config.literal_text import restore_text
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.artifacts.manifest import Estimate
from gelora_cli.core.environment import utc_now
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.registries import LAUNCHERS
from gelora_cli.launchers.base import DEFAULT, Launcher
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.launchers.torchrun import inside_workers

NO_INPUT = ("method", "budget", "seed", "train", "profile", "ranks", "preset_source")
"""Keys that a run's model and data don't depend on."""


def run_sweep(command: Command[Any], flags: list[str], overrides: list[str], words: list[str]) -> int:
    """Run every job by the launcher that `launch.launcher` names, report on all of them, and return the exit code.

    Raises:
        GeloraError: what is wrong with any of them, before the first starts.
    """
    if inside_workers():
        raise GeloraError("-m starts processes itself: give launch.processes=N and leave the launcher (torchrun) out")
    jobs, launcher = _resolve_jobs(command, flags, overrides, words)
    outcomes: list[Outcome] = []
    with launcher:
        _check_inputs(launcher, jobs)
        with contextlib.suppress(StoppedError, KeyboardInterrupt):  # a signal before a job had begun
            for outcome in launcher.run(jobs):
                outcomes.append(outcome)
    return report_sweep([job.label for job in jobs], outcomes)


def _resolve_jobs(
    command: Command[Any], flags: list[str], overrides: list[str], words: list[str]
) -> tuple[list[Job], Launcher]:
    """Compose and complete the configuration of every job, and find their launcher.

    Raises:
        GeloraError: what is wrong with the values of any.
    """
    from hydra.core.hydra_config import HydraConfig

    job_overrides: list[list[str]] = []
    composed: list[Any] = []

    def collect(config: Any) -> None:
        job_overrides.append([_plain_override(word) for word in HydraConfig.get().overrides.task])
        composed.append(config)

    with tempfile.TemporaryDirectory() as directory:  # for what Hydra itself writes of a sweep
        compose_each(command.config_name, flags, [*overrides, f"hydra.sweep.dir={directory}"], collect)
    labels = _labels(job_overrides)
    configs: list[RunConfig] = [composed_config(config) for config in composed]
    problems: list[str] = []
    for label, config in zip(labels, configs, strict=True):
        problems += [f"{label}: {problem}" for problem in value_problems(config)]
    if problems:
        raise GeloraError(list_problems(problems))
    launcher = _launcher_of(configs)
    actions = CommandActions(command, begun=utc_now())
    kept_flags = [flag for flag in flags if flag != "--multirun"]
    jobs = []
    for number, (label, config, given) in enumerate(zip(labels, configs, job_overrides, strict=True), start=1):
        # The job itself runs where it is sent: its own configuration names no other launcher.
        here = replace(config, launch=replace(config.launch, launcher=DEFAULT))
        own = [word for word in given if not word.startswith("launch.launcher=")]
        job = Job(
            number=number,
            count=len(configs),
            label=label,
            command=command.name,
            config=complete(here),
            arguments=(command.name, *kept_flags, *own),
            typed=tuple(words),
            actions=actions,
        )
        jobs.append(job)
    return jobs, launcher


def _launcher_of(configs: Sequence[RunConfig]) -> Launcher:
    """Return the launcher of all jobs; a dry run only estimates, which is done here.

    Raises:
        GeloraError: the jobs name several.
    """
    names = sorted({config.launch.launcher for config in configs})
    if len(names) > 1:
        raise GeloraError(f"launch.launcher={','.join(names)}: one launcher runs all jobs of a sweep; give one of them")
    if all(config.dry_run for config in configs) and names != ["in_place"]:
        return LAUNCHERS.get(DEFAULT)
    return LAUNCHERS.get(names[0])


def _plain_override(word: str) -> str:
    r"""Return an override of one job as a user writes it: Hydra writes `budget=rank\:4` for `budget=rank:4`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import QuotedString

    override = OverridesParser.create().parse_override(word)
    value = override._value
    if isinstance(value, QuotedString) or not isinstance(value, str):
        return str(restore_text(word))
    return str(restore_text(f"{override.get_key_element()}={value}"))


def _labels(job_overrides: list[list[str]]) -> list[str]:
    """Return for each job those of its overrides that not all jobs have."""
    common = set(job_overrides[0]).intersection(*job_overrides[1:]) if len(job_overrides) > 1 else set()
    return [" ".join(word for word in words if word not in common) for words in job_overrides]


def _check_inputs(launcher: Launcher, jobs: list[Job]) -> None:
    """Look for the model and read the data of every job, once for those that share them.

    Raises:
        GeloraError: what is wrong with any, under the first job that has it.
    """
    sharing: dict[str, list[Job]] = {}
    for job in jobs:
        sharing.setdefault(_inputs_key(job.config), []).append(job)
    messages = launcher.check([group[0] for group in sharing.values()])
    problems = []
    for group, message in zip(sharing.values(), messages, strict=False):
        if message:
            others = f" (and {len(group) - 1} more)" if len(group) > 1 else ""
            problems.append(f"{group[0].label}{others}: {message}")
    if problems:
        raise GeloraError(f"{list_problems(problems)}\nNo job was started.")


def _inputs_key(config: RunConfig) -> str:
    """Return a text that is the same for jobs with the same model and data."""
    return repr([getattr(config, field.name) for field in fields(config) if field.name not in NO_INPUT])


def report_sweep(labels: Sequence[str], outcomes: Sequence[Outcome]) -> int:
    """Print the grid of what is done, then a row for each job with what happened to it; return the exit code."""
    from gelora_cli.report.grid import grid_table
    from gelora_cli.report.listing import Job, format_jobs
    from gelora_cli.report.text_table import terminal_width

    done = [Path(outcome.directory) for outcome in outcomes if outcome.directory and not outcome.code]
    if table := grid_table(done, width=terminal_width()):
        print(f"\n{table}")
    _report_costs([Estimate(**outcome.cost) for outcome in outcomes if outcome.cost])
    rows = [
        Job(label, outcome.state, outcome.value, outcome.seconds, _where(outcome))
        for label, outcome in zip(labels, outcomes, strict=False)
    ]
    rows += [Job(label, "not started") for label in labels[len(outcomes) :]]
    print(f"\n{format_jobs(rows, width=terminal_width())}", flush=True)
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
