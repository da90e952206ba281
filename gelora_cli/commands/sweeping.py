"""Sweeps (`-m`): every job is checked before the first starts, a launcher runs them, and a table shows the outcomes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gelora_cli.commands.base import Command
from gelora_cli.commands.job_actions import CommandActions
from gelora_cli.commands.sweep_composition import compose_sweep
from gelora_cli.commands.sweep_report import report_sweep
from gelora_cli.config.checks import list_problems, value_problems
from gelora_cli.config.complete import complete
from gelora_cli.config.identity import shared_inputs
from gelora_cli.config.literal_text import restore_text
from gelora_cli.config.schema import LaunchConfig, RunConfig
from gelora_cli.config.tuned_folder import is_internal
from gelora_cli.config.unread import given_keys, unread_keys, unread_problems
from gelora_cli.core.environment import utc_now
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.messages import quote
from gelora_cli.core.registries import LAUNCHERS
from gelora_cli.launchers.base import DEFAULT, Launcher
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.launchers.torchrun import inside_workers

SIDE_BY_SIDE = (
    ("parallel", (None, 1), "how many jobs of the sweep run side by side"),
    ("gpus_per_run", (None,), "how many GPUs each job of the sweep has"),
)
"""Keys of `launch` that hold for a whole sweep, with the values by which no jobs run side by side, and meanings."""


@dataclass(frozen=True)
class ComposedJob:
    """What Hydra composed for one job.

    Attributes:
        overrides: the overrides of this job alone, as a user writes them.
        label: those of the overrides that not all jobs have.
        config: the configuration, not completed yet.
    """

    overrides: list[str]
    label: str
    config: RunConfig


def run_sweep(command: Command[Any], flags: list[str], overrides: list[str], words: list[str]) -> int:
    """Run every job by the launcher that `launch.launcher` names, report on all of them, and return the exit code.

    Args:
        command: the command of every job.
        flags: Hydra's flags.
        overrides: the overrides, some with several values.
        words: the command and its arguments, as they were typed.

    Raises:
        GeloraError: what is wrong with any job, before the first starts.
    """
    if inside_workers():
        raise GeloraError("-m starts processes itself: give launch.processes=N and leave the launcher (torchrun) out")
    composed = compose_jobs(command, flags, overrides)
    launcher = choose_launcher([job.config for job in composed])
    jobs = complete_jobs(composed, command, flags, words)
    outcomes: list[Outcome] = []
    labels = [job.label for job in jobs]
    stopped = True
    try:
        with launcher:
            check_inputs(launcher, jobs)
            # An outcome is added as soon as it is known, so that a signal loses none of those before it.
            with contextlib.suppress(StoppedError, KeyboardInterrupt):
                for outcome in checked_outcomes(launcher, jobs):
                    outcomes.append(outcome)
                stopped = False
    except Exception:
        if outcomes:  # a launcher that fails loses none of the outcomes before it
            report_sweep(labels, outcomes)
        raise
    code = report_sweep(labels, outcomes)
    written = [Path(outcome.directory) for outcome in outcomes if outcome.directory and not outcome.code]
    if following := command.next_after_sweep(written):
        print(following, flush=True)
    return max(code, StoppedError.exit_code) if stopped else code


def checked_outcomes(launcher: Launcher, jobs: Sequence[Job]) -> Iterator[Outcome]:
    """Run the jobs whose runs are in no archive, and yield what comes of each job, in their order.

    Raises:
        GeloraError: the launcher returns something else than outcomes, or more of them than there are jobs.
    """
    packed = packed_outcomes(jobs)
    left = [job for job in jobs if job.number not in packed]
    run_outcomes = _launched_outcomes(launcher, left) if left else iter(())
    for job in jobs:
        outcome = packed.get(job.number) or next(run_outcomes, None)
        if outcome is None:  # a launcher that stopped early
            return
        yield outcome
    yield from run_outcomes


def _launched_outcomes(launcher: Launcher, jobs: Sequence[Job]) -> Iterator[Outcome]:
    """Run the jobs, and yield what the launcher says of each.

    Raises:
        GeloraError: as `checked_outcomes` says.
    """
    accepted = "accepted: an Outcome for each job, such as job.actions.read_outcome(...)"
    returned = launcher.run(jobs)
    if not isinstance(returned, Iterable):
        raise GeloraError(f"launcher {launcher.name}: run() returned {quote(returned)}; {accepted}")
    for count, outcome in enumerate(returned, start=1):
        if not isinstance(outcome, Outcome):
            raise GeloraError(f"launcher {launcher.name}: run() gave {quote(outcome)}; {accepted}")
        if count > len(jobs):
            raise GeloraError(f"launcher {launcher.name}: run() gave more than {len(jobs)} outcomes; {accepted}")
        yield outcome


def packed_outcomes(jobs: Sequence[Job]) -> dict[int, Outcome]:
    """Return the outcome of each job whose run is done in one of its `archives`, by the number of the job.

    No launcher sees these jobs, since their runs have no directory from which it could read what came of them.

    Raises:
        GeloraError: an archive can't be read, or what is wrong with a job's model or data.
    """
    from gelora_cli.archive.reading import find_done
    from gelora_cli.core.artifacts.result import RunResult
    from gelora_cli.core.run_reader import RunDirectory, artifact_of

    outcomes = {}
    for job in jobs:
        if not job.config.archives or job.config.force or job.config.dry_run:
            continue
        for directory in job.actions.run_directories(job):
            run = find_done(directory, job.config.archives)
            if run is not None and not isinstance(run, RunDirectory):
                value = artifact_of(RunResult, run).value
                outcomes[job.number] = Outcome(0, str(run.place), value=value, already_done=True)
    return outcomes


def compose_jobs(command: Command[Any], flags: list[str], overrides: list[str]) -> list[ComposedJob]:
    """Compose the configuration of every job.

    Raises:
        GeloraError: what is wrong with the values of any.
    """
    job_overrides: list[list[str]] = []
    composed: list[Any] = []
    for job in compose_sweep(command.config_name, flags, overrides):
        # Without what a job's own command line derives again from --config-dir.
        words = [word for word in job.words if not is_internal(word)]
        job_overrides.append([_plain_override(word) for word in words])
        composed.append(job.config)
    # A label holds what tells a job from the others. A single job has all its overrides as its label.
    common = set(job_overrides[0]).intersection(*job_overrides[1:]) if len(job_overrides) > 1 else set()
    jobs = []
    for words, config in zip(job_overrides, composed, strict=True):
        label = " ".join(word for word in words if word not in common)
        jobs.append(ComposedJob(words, label, config))
    labels: dict[str, list[str]] = {}  # each problem with the jobs that have it
    for composed_job in jobs:
        for problem in value_problems(composed_job.config):
            labels.setdefault(problem, []).append(composed_job.label)
    given = given_keys(overrides)
    problems = unread_problems([job.config for job in jobs], given)
    for problem, having in labels.items():
        is_common = len(having) == len(jobs)  # then it needs no label
        problems.append(problem if is_common else _labelled(having, problem))
    if problems:
        raise GeloraError(list_problems(problems))
    # What another job's task reads is left out of a job's own command line, which would refuse it.
    return [replace(job, overrides=_without(job.overrides, unread_keys(job.config, given))) for job in jobs]


def _without(overrides: list[str], keys: Sequence[str]) -> list[str]:
    """Return the overrides of other keys than these."""
    return [word for word in overrides if not given_keys([word]) & {*keys}]


@functools.cache
def _plain_override(word: str) -> str:
    r"""Return an override of one job as a user writes it: Hydra writes `budget=rank\:4` for `budget=rank:4`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import QuotedString

    override = OverridesParser.create().parse_override(word)
    value = override._value  # unlike value(), it says whether the text was quoted
    # A quoted text needs its quotes to be read again; lists and numbers are written as they are read.
    if isinstance(value, QuotedString) or not isinstance(value, str):
        return str(restore_text(word))
    return str(restore_text(f"{override.get_key_element()}={value}"))


def choose_launcher(configs: Sequence[RunConfig]) -> Launcher:
    """Return the launcher of all jobs. A dry run only estimates, which needs no other machine.

    Raises:
        GeloraError: the jobs name several.
    """
    names = sorted({config.launch.launcher for config in configs})
    if len(names) > 1:
        raise GeloraError(f"launch.launcher={','.join(names)}: one launcher runs all jobs of a sweep; give one of them")
    for name, of_one_job, meaning in SIDE_BY_SIDE:
        values = list(dict.fromkeys(getattr(config.launch, name) for config in configs))
        if len(values) > 1:
            given = ",".join("null" if value is None else str(value) for value in values)
            raise GeloraError(f"launch.{name}={given}: it is {meaning}; give one number")
        if values[0] not in of_one_job and names == ["in_place"]:
            raise GeloraError(
                f"launch.{name}={values[0]}: launch.launcher=in_place runs the jobs in one process, one after the "
                "other; leave one of the two out"
            )
    # in_place is kept: it is for a debugger, and a dry run can be debugged, too.
    if all(config.dry_run for config in configs) and names != ["in_place"]:
        return LAUNCHERS.get(DEFAULT)
    return LAUNCHERS.get(names[0])


def complete_jobs(
    composed: Sequence[ComposedJob], command: Command[Any], flags: list[str], words: list[str]
) -> list[Job]:
    """Complete the configurations, and return the jobs as a launcher takes them.

    A job runs where the launcher sends it, so that its own configuration and command line name no launcher and none
    of the launcher's keys. A dry run of jobs that run elsewhere estimates one process: here there need not be devices
    for more.
    """
    actions = CommandActions(command, begun=utc_now())  # before the first job: what ended earlier was done already
    job_flags = [flag for flag in flags if flag != "--multirun"]
    jobs = []
    for number, job in enumerate(composed, start=1):
        processes = job.config.launch.processes
        if job.config.dry_run and not LAUNCHERS.get(job.config.launch.launcher).runs_here:
            processes = 1
        config = replace(job.config, launch=LaunchConfig.of(DEFAULT, processes=processes))
        overrides = [word for word in job.overrides if not _is_of_launch(word)]
        if len(overrides) < len(job.overrides):
            overrides.append(f"launch.processes={processes}")  # all that is a job's own of what launch=NAME may set
        jobs.append(
            Job(
                number=number,
                count=len(composed),
                label=job.label,
                command=command.name,
                config=complete(config),
                launch=job.config.launch,
                arguments=(command.name, *job_flags, *overrides),
                typed=tuple(words),
                actions=actions,
            )
        )
    return jobs


def _is_of_launch(word: str) -> bool:
    """Return whether an override chooses a launcher or gives a value of its section."""
    return word.partition("=")[0].lstrip("+").partition(".")[0] == "launch"


def check_inputs(launcher: Launcher, jobs: Sequence[Job]) -> None:
    """Look for the model and read the data of every job, once for jobs that share them.

    Raises:
        GeloraError: what is wrong with any, under the first job that has it.
    """
    groups: dict[str, list[Job]] = {}  # jobs with the same model and data, which one check covers
    for job in jobs:
        groups.setdefault(shared_inputs(job.config), []).append(job)
    messages = launcher.check([group[0] for group in groups.values()])
    problems = []
    for group, message in zip(groups.values(), messages, strict=False):  # one message for all if none can be checked
        if message:
            problems.append(_labelled([job.label for job in group], message))
    if problems:
        raise GeloraError(f"{list_problems(problems)}\nNo job was started.")


def _labelled(labels: Sequence[str], problem: str) -> str:
    """Return a problem under the label of the first job that has it; one that begins with the label says it already."""
    if len(labels) > 1:
        return f"{labels[0]} (and {len(labels) - 1} more): {problem}"
    return problem if problem.startswith(labels[0]) else f"{labels[0]}: {problem}"
