"""The record of a study of budgets: from its runs to cells, tests and answers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from gelora_cli.archive.reading import open_run
from gelora_cli.config.identity import NUMERICS
from gelora_cli.core.artifacts.budgets import BudgetAnswer, BudgetCell, BudgetRun, BudgetStudy, MarginTest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.artifacts.study import MethodStudy, Study, Trial
from gelora_cli.core.environment import utc_now
from gelora_cli.core.run_reader import RunFiles, artifact_of
from gelora_cli.launchers.job import Outcome
from gelora_cli.report.significance import ComparedRow, score_rows
from gelora_cli.tuning.budget_tests import (
    CellScores,
    answer,
    budget_tests,
    chosen_budget,
    uniform_test,
    with_intervals,
)

RESAMPLES, SEED = 2000, 0
"""How often the examples are drawn, and by what, as in a report."""


@dataclass(frozen=True, kw_only=True)
class BudgetQuestion:
    """What was asked, and the studies that tuned the methods.

    Attributes:
        budgets: canonical texts, the smallest first.
        studies: the study of each budget.
        places: the directory of each, seen from that of this one.
        seeds: the seeds that are compared.
        margin: by how much a smaller budget may be worse.
        uniform: the method of uniform ranks.
    """

    budgets: tuple[str, ...]
    studies: tuple[Study, ...]
    places: tuple[str, ...]
    seeds: tuple[int, ...]
    margin: float
    uniform: str


def budgets_directory(studies: Sequence[Path], seeds: Sequence[int], margin: float) -> Path:
    """Return where a study of budgets is kept, beside the studies that tune its methods."""
    text = json.dumps([[path.name for path in studies], list(seeds), margin])
    digits = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = studies[0].name.rsplit("-b", 1)[0]
    return studies[0].parent / f"{name}-budgets-{digits}"


def make_budget_study(question: BudgetQuestion, outcomes: Iterator[Outcome], directory: Path) -> BudgetStudy:
    """Return the study of finished runs, which come by budget, method and seed.

    Raises:
        GeloraError: a run that can't be read, or whose predictions have no test.
    """
    cells: list[BudgetCell] = []
    runs_by_cell: dict[tuple[str, str], dict[int, RunFiles]] = {}
    for budget, study, place in zip(question.budgets, question.studies, question.places, strict=True):
        for method in study.methods:
            runs: dict[int, RunFiles] = {}
            for seed in question.seeds:
                runs[seed] = open_run(Path(next(outcomes).directory or ""))
            runs_by_cell[method.label, budget] = runs
            cells.append(_cell(method, budget, place, runs, directory))
    rows = [ComparedRow(f"{label} at {budget}", "budgets", runs) for (label, budget), runs in runs_by_cell.items()]
    by_name = score_rows("budgets", rows, RESAMPLES, SEED)
    scores = {(label, budget): by_name[f"{label} at {budget}"] for label, budget in runs_by_cell}
    first = next(iter(scores.values()))
    labels = [method.label for method in question.studies[0].methods]
    order = {label: number for number, label in enumerate(labels)}
    cells.sort(key=lambda cell: order[cell.label])  # by method, and then as they were, by budget
    cells = list(with_intervals(cells, scores))
    tests = {label: budget_tests(label, question.budgets, scores, question.margin) for label in labels}
    answers = [_answer(label, cells, tests[label], scores, question, first.metric, first.examples) for label in labels]
    study = question.studies[0]
    return BudgetStudy(
        task=study.task,
        model=study.model,
        reported=first.metric,
        budgets=question.budgets,
        margin=question.margin,
        seeds=question.seeds,
        trials=study.trials,
        holdout=study.holdout,
        examples=first.examples,
        drawn=first.drawn,
        overrides=tuple(word for word in study.overrides if not word.startswith("budget=")),
        numerics=NUMERICS,
        date=utc_now(),
        cells=tuple(cells),
        tests=tuple(test for label in labels for test in tests[label]),
        answers=tuple(answers),
    )


def _cell(method: MethodStudy, budget: str, place: str, runs: Mapping[int, RunFiles], directory: Path) -> BudgetCell:
    """Return a method at a budget with its runs."""
    results = {seed: artifact_of(RunResult, run) for seed, run in runs.items()}
    patterns = [artifact_of(RankPlan, run).rank_pattern for run in runs.values()]
    ends = [result.effective_ranks for result in results.values()]
    best: Trial | None = method.best_trial
    return BudgetCell(
        label=method.label,
        method=method.method,
        budget=budget,
        params=max(result.adapter_params for result in results.values()),
        study=place,
        values={} if best is None else dict(best.values),
        ranks=next(iter(results.values())).ranks,
        runs=tuple(
            BudgetRun(seed, os.path.relpath(runs[seed].place, directory), result.value, result.collapsed)
            for seed, result in results.items()
        ),
        mean=mean(result.value for result in results.values()),
        ranks_vary=any(ranks != patterns[0] for ranks in [*patterns, *ends]),
    )


def _answer(
    label: str,
    cells: Sequence[BudgetCell],
    tests: Sequence[MarginTest],
    scores: CellScores,
    question: BudgetQuestion,
    metric: str,
    examples: int,
) -> BudgetAnswer:
    """Return the answer for a method, with uniform ranks at the budget that it names."""
    own = {cell.budget: cell for cell in cells if cell.label == label}
    budget = chosen_budget(question.budgets, tests)
    uniform = _uniform_label(label, cells, question.uniform)
    compared = None
    if uniform is not None:
        other = next(cell for cell in cells if (cell.label, cell.budget) == (uniform, budget))
        test = uniform_test(scores[uniform, budget], scores[label, budget], label, budget, question.margin)
        compared = (other, test)
    return answer(own, tests, compared, margin=question.margin, metric=metric, examples=examples)


def _uniform_label(label: str, cells: Sequence[BudgetCell], uniform: str) -> str | None:
    """Return the label of uniform ranks that a method is compared with, of the same other settings where there is one.

    It is None for uniform ranks themselves.
    """
    by_label = {cell.label: cell.method for cell in cells}
    if by_label[label] == uniform:
        return None
    same_settings = " ".join([uniform, *label.split(" ")[1:]])
    if same_settings in by_label:
        return same_settings
    return next((name for name, method in by_label.items() if method == uniform), None)
