"""How large a rank: methods at several budgets, each tuned there, `budgets.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gelora_cli.core.artifacts.study import SettingValue


@dataclass(frozen=True)
class BudgetRun:
    """A run of a cell: its seed, its directory seen from this file, its value, and whether it collapsed."""

    seed: int
    directory: str
    value: float
    collapsed: bool


@dataclass(frozen=True)
class BudgetCell:
    """A method at a budget, with the settings that were best there.

    Attributes:
        label: The method as tables and pictures name it.
        method: The name of the method.
        budget: Canonical text of the budget.
        params: Parameters of its adapter, the most of all seeds.
        study: Directory of the study that tuned it, seen from this file.
        values: The settings that were best in it.
        ranks: The planned rank of each block, of the first seed; empty for a method without ranks.
        runs: A run for each seed.
        mean: The mean of their values.
        low: The lower end of the 95 % interval of the mean, over seeds and examples; None where nothing varies.
        high: The upper end.
        ranks_vary: Whether some run has other ranks than these at its end: they follow the seed, or change in training.
    """

    label: str
    method: str
    budget: str
    params: int
    study: str
    values: dict[str, SettingValue]
    ranks: tuple[int, ...]
    runs: tuple[BudgetRun, ...]
    mean: float
    low: float | None = None
    high: float | None = None
    ranks_vary: bool = False


@dataclass(frozen=True)
class MarginTest:
    """Whether a cell is worse than another one by more than a margin, over seeds and examples.

    Where neither seeds nor examples change the difference, there is no test: interval and p are None.

    Attributes:
        label: The method of the cell.
        budget: The budget of the cell.
        against: The other cell, in words.
        difference: Mean of the other cell less that of this one: how much worse this one is.
        low: The lower end of the 95 % interval of the difference.
        high: The upper end.
        p_worse: One-sided p of a difference as large as this one, if this cell were worse by exactly the margin.
        p_worse_corrected: Holm's over the budgets; below 0.05 it is shown to be worse by more than the margin.
        p_within: One-sided p of a difference as small as this one, if this cell were worse by exactly the margin.
        p_within_corrected: Holm's over the budgets; below 0.05 it is shown to be at most the margin worse.
        detectable: The smallest difference that would have been shown to be above the margin.
        shown_worse: Whether it is shown to be worse by more than the margin.
        shown_within: Whether it is shown to be at most the margin worse.
    """

    label: str
    budget: str
    against: str
    difference: float
    low: float | None = None
    high: float | None = None
    p_worse: float | None = None
    p_worse_corrected: float | None = None
    p_within: float | None = None
    p_within_corrected: float | None = None
    detectable: float | None = None
    shown_worse: bool = False
    shown_within: bool = False


@dataclass(frozen=True)
class BudgetAnswer:
    """The smallest budget of a method that is not shown to be worse, and whether uniform ranks do as well there.

    `uniform` is None for uniform ranks themselves, and `budget` where all runs collapsed, which is no answer.
    """

    label: str
    budget: str | None
    uniform: MarginTest | None
    sentence: str


@dataclass(frozen=True)
class BudgetStudy:
    """Methods at several budgets, and what follows.

    Attributes:
        task: Name of the task.
        model: Name of the model.
        reported: Name of the metric that decides; the higher the better.
        budgets: Canonical texts of the budgets, the smallest first.
        margin: By how much a smaller budget may be worse, in units of the metric.
        seeds: The seeds of the runs that are compared.
        trials: Trials for each method at each budget.
        holdout: Share of the training rows that runs are scored on and not trained on.
        examples: How many rows that is.
        drawn: What the tests draw, in words.
        overrides: The overrides that all runs have.
        numerics: Version of a run's arithmetic.
        date: When it was put together, in UTC.
        cells: Methods at budgets, by method and then by budget.
        tests: Each budget of a method against its largest one.
        answers: An answer for each method.
    """

    task: str
    model: str
    reported: str
    budgets: tuple[str, ...]
    margin: float
    seeds: tuple[int, ...]
    trials: int
    holdout: float
    examples: int
    drawn: str
    overrides: tuple[str, ...]
    numerics: int
    date: str
    cells: tuple[BudgetCell, ...]
    tests: tuple[MarginTest, ...]
    answers: tuple[BudgetAnswer, ...]

    FILE: ClassVar[str] = "budgets.json"
