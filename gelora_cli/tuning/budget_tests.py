"""Which budgets of a method are shown to be worse than its largest one, and the answer in a sentence.

D is how much worse a smaller budget is than the largest one, d its estimate: the difference of the means over the
seeds. The variance of d over seeds and examples, and what it is compared with, are those of `report/bootstrap.py`. Two
one-sided tests look at the margin from its two sides, each corrected by Holm over the budgets of the method:

- *shown to be worse by more than the margin*: D <= margin is rejected, since d is too large for it;
- *shown to be at most the margin worse* (non-inferiority): D >= margin is rejected, since d is too small for it.

The answer is the smallest budget that the first test does not call worse. That nothing is shown is no proof that there
is nothing. So the answer says whether the second test shows it, or else from which difference on the first one would
have seen it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gelora_cli.core.artifacts.budgets import BudgetAnswer, BudgetCell, MarginTest
from gelora_cli.report.bootstrap import TINY, Variances, holm, variances
from gelora_cli.report.comparison import LEVEL
from gelora_cli.report.significance import RowScores

CellScores = Mapping[tuple[str, str], RowScores]
"""What the runs of each cell reached on the data and on resamples of it, by label and budget."""


def with_intervals(cells: Sequence[BudgetCell], scores: CellScores) -> tuple[BudgetCell, ...]:
    """Return the cells with the 95 % interval of each mean, over seeds and examples."""
    found = []
    for cell in cells:
        row = scores[cell.label, cell.budget]
        parts = _variances(row, None)
        half_width = None if parts is None or parts.none else parts.half_width()
        low, high = (None, None) if half_width is None else (cell.mean - half_width, cell.mean + half_width)
        found.append(replace(cell, low=low, high=high))
    return tuple(found)


def budget_tests(label: str, budgets: Sequence[str], scores: CellScores, margin: float) -> tuple[MarginTest, ...]:
    """Return a test of each budget of a method but the largest against the largest, corrected over them.

    Args:
        label: the method.
        budgets: the budgets, the smallest first.
        scores: of the cells.
        margin: by how much a smaller budget may be worse.
    """
    *smaller, largest = budgets
    tests = [
        margin_test(
            MarginTest(label, budget, f"{label} at {largest}", 0.0),
            scores[label, budget],
            scores[label, largest],
            margin,
            tests=len(smaller),
        )
        for budget in smaller
    ]
    return tuple(_corrected(tests))


def margin_test(test: MarginTest, row: RowScores, other: RowScores, margin: float, *, tests: int = 1) -> MarginTest:
    """Return a test with the difference of two cells, its interval and both p-values, not corrected.

    Args:
        test: the test, with what it is of.
        row: the cell.
        other: the cell that it may be worse than.
        margin: by how much.
        tests: how many tests will be corrected together, for the smallest difference that would be shown.
    """
    seeds = sorted(row.plain.keys() & other.plain.keys())
    difference = float(np.mean([other.plain[seed] - row.plain[seed] for seed in seeds]))
    test = replace(test, difference=difference)
    parts = _variances(other, row)
    if parts is None or (parts.none and abs(difference) > TINY):
        return test
    if parts.none:  # the same predictions: nothing can be worse
        return replace(test, low=0.0, high=0.0, p_worse=1.0, p_within=0.0, detectable=margin)
    half_width = parts.half_width()
    return replace(
        test,
        low=difference - half_width,
        high=difference + half_width,
        p_worse=_chance_above(parts, difference - margin),
        p_within=_chance_above(parts, margin - difference),
        detectable=margin + parts.half_width(2 * LEVEL / tests),  # one-sided, at the first step of Holm's correction
    )


def _variances(row: RowScores, less: RowScores | None) -> Variances | None:
    """Return the variance of a row's mean, or of its difference from another row; None where nothing can be drawn."""
    seeds = sorted(row.plain if less is None else row.plain.keys() & less.plain.keys())
    if row.clusters is not None and int(row.clusters.max()) == 0:
        return None
    plain = np.array([row.plain[seed] - (0.0 if less is None else less.plain[seed]) for seed in seeds])  # (S,)
    columns = [row.resampled[seed] - (0.0 if less is None else less.resampled[seed]) for seed in seeds]
    return variances(plain, np.stack(columns, axis=1), row.examples, row.clusters)


def _chance_above(parts: Variances, deviation: float) -> float:
    """Return the chance that the estimate deviates by at least so much upwards."""
    both_sides = parts.p_value(deviation)
    return both_sides / 2 if deviation >= 0 else 1 - both_sides / 2


def _corrected(tests: Sequence[MarginTest]) -> list[MarginTest]:
    """Return the tests with Holm's p-values over those that could be made, for either side, and what they show."""
    made = [index for index, test in enumerate(tests) if test.p_worse is not None]
    worse = holm(np.array([tests[index].p_worse for index in made], np.float64))
    within = holm(np.array([tests[index].p_within for index in made], np.float64))
    corrected = list(tests)
    for index, of_worse, of_within in zip(made, worse.tolist(), within.tolist(), strict=True):
        corrected[index] = replace(
            tests[index],
            p_worse_corrected=of_worse,
            p_within_corrected=of_within,
            shown_worse=of_worse < LEVEL,
            shown_within=of_within < LEVEL,
        )
    return corrected


def answer(
    cells: Mapping[str, BudgetCell],
    tests: Sequence[MarginTest],
    uniform: tuple[BudgetCell, MarginTest] | None,
    *,
    margin: float,
    metric: str,
    examples: int,
) -> BudgetAnswer:
    """Return the smallest budget of a method that is not shown to be worse, in a sentence.

    Args:
        cells: the cells of the method by their budget, the smallest first.
        tests: of all budgets but the largest.
        uniform: uniform ranks at the chosen budget (see `chosen_budget`) with their test; None for themselves.
        margin: by how much a smaller budget may be worse.
        metric: its unit.
        examples: how many rows runs were scored on.
    """
    budget = chosen_budget([*cells], tests)
    cell = cells[budget]
    runs = [run for each in cells.values() for run in each.runs]
    collapsed = sum(run.collapsed for run in runs)
    if collapsed == len(runs):  # equal values of runs that learned nothing show nothing
        sentence = (
            f"{cell.label}: no answer. All of its {collapsed} runs collapsed to one answer for every row: give more "
            "tune.trials, more train.epochs or more rows."
        )
        return BudgetAnswer(cell.label, None, None if uniform is None else uniform[1], sentence)
    parts = [_budget_text(cell, [*cells.values()][-1], tests, margin, metric, examples)]
    if cell.ranks:
        parts.append(_ranks_text(cell))
    if uniform is not None:
        parts.append(_uniform_text(*uniform, cell, margin))
    if collapsed:
        parts.append(f"{collapsed} of its runs collapsed, and are in all of this.")
    return BudgetAnswer(cell.label, budget, None if uniform is None else uniform[1], " ".join(parts))


def chosen_budget(budgets: Sequence[str], tests: Sequence[MarginTest]) -> str:
    """Return the smallest budget that is not shown to be worse; one that can't be tested must lie within the margin."""
    by_budget = {test.budget: test for test in tests}
    for budget in budgets[:-1]:
        test = by_budget[budget]
        can_be_tested = test.p_worse is not None or test.difference <= 0
        if can_be_tested and not test.shown_worse:
            return budget
    return budgets[-1]


def uniform_test(row: RowScores, other: RowScores, label: str, budget: str, margin: float) -> MarginTest:
    """Return whether uniform ranks are worse than a method's at one budget; a single test, with nothing to correct."""
    test = MarginTest("uniform ranks", budget, f"{label} at {budget}", 0.0)
    return _corrected([margin_test(test, row, other, margin)])[0]


def _budget_text(
    cell: BudgetCell, largest: BudgetCell, tests: Sequence[MarginTest], margin: float, metric: str, examples: int
) -> str:
    seeds = f"{len(cell.runs)} seeds, {examples:,} held-out rows"
    if cell is largest:
        smaller = f"{len(tests)} smaller budget{'s are' if len(tests) > 1 else ' is'}"
        return (
            f"{cell.label}: {cell.budget} ({metric} {cell.mean:.4f}), the largest: the {smaller} shown to be worse by "
            f"more than {margin:g} ({seeds})."
        )
    test = next(test for test in tests if test.budget == cell.budget)
    interval = "" if test.low is None else f", 95 % interval {test.low:.4f} to {test.high:.4f}"
    text = (
        f"{cell.label}: {cell.budget} is the smallest budget that is not shown to be worse than {largest.budget} by "
        f"more than {margin:g} ({metric} {cell.mean:.4f} against {largest.mean:.4f}, difference {test.difference:.4f}"
        f"{interval}; {seeds})."
    )
    above = [each.budget for each in tests if each.shown_worse and _is_above(each, test, tests)]
    if above:
        text += f" Yet {', '.join(above)}, which is larger, is shown to be worse."
    return f"{text} {_certainty_text(test, margin)}"


def _ranks_text(cell: BudgetCell) -> str:
    """Return the ranks of a cell in a sentence."""
    ranks = f"block 1 to {len(cell.ranks)}: {' '.join(map(str, cell.ranks))}"
    if cell.ranks_vary:
        return f"Its ranks follow the seed or change in training; seed {cell.runs[0].seed} began with, {ranks}."
    return f"Its ranks, {ranks}."


def _is_above(each: MarginTest, test: MarginTest, tests: Sequence[MarginTest]) -> bool:
    return [*tests].index(each) > [*tests].index(test)


def _certainty_text(test: MarginTest, margin: float) -> str:
    """Say how much it means that a budget is not shown to be worse."""
    if test.shown_within:
        return f"It is shown to be at most {margin:g} worse."
    if test.detectable is None:
        return "Neither seeds nor rows change the difference, which leaves nothing to test with."
    return (
        f"That it is at most {margin:g} worse is not shown either: only a difference above {test.detectable:.4f} would "
        "have been called worse, and more seeds or rows would tell."
    )


def _uniform_text(cell: BudgetCell, test: MarginTest, of_method: BudgetCell, margin: float) -> str:
    is_varied = cell.ranks_vary or of_method.ranks_vary
    if not is_varied and cell.ranks == of_method.ranks and abs(test.difference) < TINY:
        return "Uniform ranks are the same there."
    values = f"{cell.mean:.4f}, {abs(test.difference):.4f} {'below' if test.difference >= 0 else 'above'}"
    if test.shown_worse:
        return f"Uniform ranks are shown to be worse there by more than {margin:g} ({values})."
    if test.shown_within:
        return f"Uniform ranks do as well there: they are shown to be at most {margin:g} worse ({values})."
    return (
        f"Uniform ranks are not shown to be worse there by more than {margin:g} ({values}), nor is it shown that they "
        "do as well."
    )
