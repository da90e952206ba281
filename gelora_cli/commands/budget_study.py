"""`gelora tune tune.budgets=[...]`: how large a rank? A study at each budget, then seeds, tests and a sentence.

Every method is tuned at every budget with `tune.trials` trials, by the same study that `gelora tune budget=B` runs, so
that trials which are done serve both. Then each runs with each of `tune.seeds` at its best settings.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gelora_cli.commands.budget_text import budget_dry_run_text, budget_text, unequal_trials_text
from gelora_cli.commands.studying import (
    Composed,
    compose_study,
    continue_study,
    directory_of_study,
    estimate_runs,
    first_trial,
    key_of_override,
)
from gelora_cli.commands.sweeping import check_inputs, checked_outcomes, choose_launcher, compose_jobs
from gelora_cli.commands.tune_keys import TuneConfig
from gelora_cli.config.checks import list_problems
from gelora_cli.config.schema import LARGEST_SEED
from gelora_cli.core.artifacts.budgets import BudgetStudy
from gelora_cli.core.artifacts.study import Study, Trial
from gelora_cli.core.budget import Budget, parse_budget
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.directories import create_directory
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.locks import lock_directory
from gelora_cli.core.messages import join_names
from gelora_cli.core.registries import COMMANDS, METHODS
from gelora_cli.launchers.base import Launcher
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.report.comparison import FEWEST_SEEDS
from gelora_cli.tuning.budget_record import BudgetQuestion, budgets_directory, make_budget_study
from gelora_cli.tuning.search import PlannedTrial

if TYPE_CHECKING:
    from gelora_cli.commands.tune import TuneCommandConfig

KEY = "tune.budgets"
PICTURE = "budgets.png"
UNIFORM = "lora"
"""The method of uniform ranks, which is added to those that are given."""


@dataclass(frozen=True)
class BudgetPart:
    """The study of one budget: the canonical text, the study as it was composed, its first trials, its directory."""

    budget: str
    study: Composed
    first: list[Job]

    def directory(self) -> Path:
        """Return the directory of the study, for which model and data are looked up."""
        return directory_of_study(self.study, self.first)


def names_budgets(overrides: Sequence[str]) -> bool:
    """Return whether the overrides of `gelora tune` ask for several budgets."""
    return any(key_of_override(word) == KEY for word in overrides)


def run_budget_study(flags: list[str], overrides: list[str], words: list[str]) -> int:
    """Tune at each budget, run the seeds, test, and print the answer; return the exit code: 1 where a trial failed.

    Raises:
        GeloraError: what is wrong with the budgets, the seeds or any method, before the first trial starts.
    """
    parts, tune = _compose_parts(flags, overrides, words)
    configs = [job.config for part in parts for job in part.study.jobs]
    launcher = choose_launcher(configs)
    with launcher:
        first = _numbered(parts, [part.first for part in parts])
        check_inputs(launcher, first)
        if configs[0].dry_run:
            labels = [f"{method.label} at {part.budget}" for part in parts for method in part.study.methods]
            return estimate_runs(
                launcher, first, lambda outcomes: budget_dry_run_text(labels, outcomes, tune.trials, len(tune.seeds))
            )
        directories = [part.directory() for part in parts]
        if not any((directory / Study.FILE).exists() for directory in directories):
            _check_smallest(parts[0], launcher)
        directory = budgets_directory(directories, tune.seeds, _margin(tune, parts[0]))
        create_directory(directory)
        with lock_directory(directory, "the study of budgets"):
            studies = []
            for part, place in zip(parts, directories, strict=True):
                if continue_study(part.study, part.first, launcher, place) == StoppedError.exit_code:
                    return StoppedError.exit_code
                study = read_artifact(Study, place / Study.FILE)
                _check_tuned(part, study)
                studies.append(study)
            outcomes = _run_seeds(parts, studies, tune.seeds, launcher)
            if outcomes is None:
                print("interrupted: give the same command again to resume", flush=True)
                return StoppedError.exit_code
            _check_seeds(outcomes)
            question = BudgetQuestion(
                budgets=tuple(part.budget for part in parts),
                studies=tuple(studies),
                places=tuple(os.path.relpath(place, directory) for place in directories),
                seeds=tuple(tune.seeds),
                margin=_margin(tune, parts[0]),
                uniform=UNIFORM,
            )
            _finish(make_budget_study(question, iter(outcomes), directory), directory)
    unequal = unequal_trials_text(studies)
    if unequal:
        print(unequal, flush=True)
    return 1 if unequal else 0


def _compose_parts(flags: list[str], overrides: Sequence[str], words: list[str]) -> tuple[list[BudgetPart], TuneConfig]:
    """Compose a study for each budget, the smallest first.

    Raises:
        GeloraError: all that is wrong with the budgets and seeds, or with the methods.
    """
    command = COMMANDS.get("tune")
    overrides = _with_uniform(overrides)
    config = cast("TuneCommandConfig", compose_jobs(command, flags, list(overrides))[0].config)
    problems = [*_problems(config.tune, overrides)]
    if problems:
        raise GeloraError(list_problems(problems))
    plain = [word for word in overrides if key_of_override(word) != KEY]
    parts = []
    for budget in sorted(map(parse_budget, config.tune.budgets), key=lambda budget: budget.amount):
        study = compose_study(flags, [*plain, f"budget={_typed(budget)}"], words)
        first = study.trial_jobs([first_trial(method, study.settings) for method in study.methods])
        parts.append(BudgetPart(budget.name, study, first))
    exempt = [method.label for method in parts[0].study.methods if METHODS.get(method.method).exempt]
    if exempt:
        raise GeloraError(f"{KEY}: {join_names(exempt)} has no budget, so that it can't be compared over budgets")
    return parts, config.tune


def _with_uniform(overrides: Sequence[str]) -> list[str]:
    """Return the overrides with uniform LoRA among the methods."""
    given = next((word for word in overrides if key_of_override(word) == "method"), None)
    if given is None:
        return [*overrides, f"method=gelora,{UNIFORM}"]
    methods = given.partition("=")[2].split(",")
    if UNIFORM in methods:
        return [*overrides]
    return [f"{word},{UNIFORM}" if word == given else word for word in overrides]


def _problems(tune: TuneConfig, overrides: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the budgets and the seeds."""
    if any(key_of_override(word) == "budget" for word in overrides):
        yield f"budget and {KEY} exclude each other: leave budget out"
    budgets: list[Budget] = []
    for text in tune.budgets:
        try:
            budgets.append(parse_budget(text))
        except GeloraError as error:
            yield f"{KEY}: {error}"
    names = [budget.name for budget in budgets]
    if len(set(names)) < max(2, len(names)):
        yield f"{KEY}=[{','.join(tune.budgets)}]: two or more different budgets are compared; give at least two"
    if "auto" in names:
        yield f"{KEY}: auto is no bound; give numbers such as 0.05M"
    elif len({budget.kind for budget in budgets}) > 1:
        yield f"{KEY}=[{','.join(tune.budgets)}]: budgets of one form can be put in order; write all in parameters"
    seeds = tune.seeds
    if len(set(seeds)) < max(FEWEST_SEEDS, len(seeds)):
        yield (
            f"tune.seeds=[{','.join(map(str, seeds))}]: a test over seeds needs {FEWEST_SEEDS} different ones; give "
            "tune.seeds=[1,2,3]"
        )
    if any(not 0 <= seed <= LARGEST_SEED for seed in seeds):
        yield f"tune.seeds: accepted are whole numbers from 0 to {LARGEST_SEED}"


def _check_smallest(part: BudgetPart, launcher: Launcher) -> None:
    """Refuse a smallest budget that a method can't meet, by a dry run of each.

    Bounds of a method whose profile is not measured yet are known only then: its first trials say them.

    Raises:
        GeloraError: with what is wrong with each.
    """
    jobs = []
    for method, job in zip(part.study.methods, part.first, strict=True):
        label = f"check of budget {part.budget}: {method.label}"
        jobs.append(replace(job, label=label, config=replace(job.config, dry_run=True)))
    problems = []
    for method, outcome in zip(part.study.methods, checked_outcomes(launcher, jobs), strict=False):
        if outcome.code == StoppedError.exit_code:
            raise StoppedError("interrupted before any trial was started")
        if outcome.code:
            problems.append(f"{method.label}: {outcome.message}")
    if problems:
        raise GeloraError(list_problems(problems))


def _check_tuned(part: BudgetPart, study: Study) -> None:
    """Refuse a study in which every trial of a method failed, as where its ranks can't meet the budget.

    Raises:
        GeloraError: with the message of each.
    """
    problems = []
    for method in study.methods:
        if method.best_trial is None:
            message = next((trial.message for trial in method.trials if trial.message), "no trial was made")
            problems.append(f"{method.label} at {part.budget}: {message}")
    if problems:
        raise GeloraError(list_problems(problems))


def _seed_jobs(part: BudgetPart, study: Study, seeds: Sequence[int]) -> list[Job]:
    """Return the jobs of all methods at their best settings, with each seed."""
    planned, labels = [], []
    for method in study.methods:
        best = cast(Trial, method.best_trial)
        for seed in seeds:
            planned.append(PlannedTrial(method.label, Trial(best.number, {**best.values, "seed": seed})))
            labels.append(f"{method.label}, seed {seed}")
    jobs = part.study.trial_jobs(planned)
    return [replace(job, label=label) for job, label in zip(jobs, labels, strict=True)]


def _numbered(parts: Sequence[BudgetPart], jobs_by_part: Iterable[Sequence[Job]]) -> list[Job]:
    """Return the jobs of all budgets as those of one sweep: numbered through, with the budget in their labels."""
    labelled = []
    for part, jobs in zip(parts, jobs_by_part, strict=True):
        labelled += [replace(job, label=f"budget {part.budget}, {job.label}") for job in jobs]
    return [replace(job, number=number, count=len(labelled)) for number, job in enumerate(labelled, start=1)]


def _run_seeds(
    parts: Sequence[BudgetPart], studies: Sequence[Study], seeds: Sequence[int], launcher: Launcher
) -> list[Outcome] | None:
    """Run every method at every budget with each seed; None where a signal came."""
    jobs = _numbered(parts, [_seed_jobs(part, study, seeds) for part, study in zip(parts, studies, strict=True)])
    print(f"gelora: {len(jobs)} runs with seeds {', '.join(map(str, seeds))} at the best settings", flush=True)
    outcomes: list[Outcome] = []
    with contextlib.suppress(StoppedError, KeyboardInterrupt):
        for outcome in checked_outcomes(launcher, jobs):
            if outcome.code == StoppedError.exit_code:
                return None
            outcomes.append(outcome)
    return outcomes if len(outcomes) == len(jobs) else None


def _check_seeds(outcomes: Sequence[Outcome]) -> None:
    """Refuse to answer without all runs.

    Raises:
        GeloraError: with what failed.
    """
    failed = [f"{outcome.directory or '-'}: {outcome.message}" for outcome in outcomes if outcome.code]
    if failed:
        raise GeloraError(f"{list_problems(failed)}\nThe same command tries them again.")


def _finish(study: BudgetStudy, directory: Path) -> None:
    """Write the study and its picture, and print table and answer."""
    from gelora_cli.plots.budgets import budgets_figure
    from gelora_cli.plots.style import write_figure

    write_figure(budgets_figure(study), directory / PICTURE)
    write_artifact(study, directory)
    print(budget_text(study, directory / BudgetStudy.FILE, directory / PICTURE), flush=True)


def _margin(tune: TuneConfig, part: BudgetPart) -> float:
    """Return the margin that is given, else a point of the metric."""
    from gelora_cli.core.registries import METRICS

    if tune.margin is not None:
        return tune.margin
    return 10.0 ** (2 - METRICS.get(part.first[0].config.task.metric).digits)  # values in percent have two digits


def _typed(budget: Budget) -> str:
    """Return a budget as a user writes it."""
    return {"rank": f"rank:{budget.amount}", "percent": f"{budget.amount}%"}.get(budget.kind, budget.name)
