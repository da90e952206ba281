"""Which budget is the smallest that is not shown to be worse, on made values of seeds and examples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gelora_cli.core.artifacts.budgets import BudgetCell, BudgetRun, MarginTest
from gelora_cli.metrics.definitions import Array
from gelora_cli.report.bootstrap import resample
from gelora_cli.report.significance import RowScores
from gelora_cli.tuning.budget_tests import answer, budget_tests, chosen_budget, uniform_test, with_intervals

EXAMPLES = 2_000
SEEDS = (1, 2, 3)


def scores(
    label: str, right: dict[str, float], *, spread: float = 0.0, clusters: int | None = None
) -> dict[tuple[str, str], RowScores]:
    """Make runs whose share of right answers at each budget is `right`, give or take `spread` between seeds.

    Runs get the same examples right but for what sets their shares apart, so that differences are known well.
    """
    order = np.random.default_rng(0).permutation(EXAMPLES)
    offsets = ((-1, 0, 1), (1, -1, 0), (0, 1, -1))  # other seeds are good at other budgets
    shares = [right[budget] + spread * offset for index, budget in enumerate(right) for offset in offsets[index]]
    predicted = np.stack([(order < share * EXAMPLES).astype(np.int64) for share in shares])  # (runs, n)
    true = np.ones(EXAMPLES, np.int64)
    groups = None if clusters is None else np.arange(EXAMPLES) % clusters

    def accuracy(values: Array, labels: Array, weights: Array) -> Array:
        hits = (values == labels).astype(np.float64)  # (runs, n)
        shares: Array = (weights @ hits.T) / weights.sum(axis=1, keepdims=True)  # (B, runs)
        return shares

    plain, resampled = resample(accuracy, predicted, true, resamples=200, seed=0, clusters=groups)
    found = {}
    for index, budget in enumerate(right):
        columns = {seed: 3 * index + place for place, seed in enumerate(SEEDS)}
        found[label, budget] = RowScores(
            group="budgets",
            name=f"{label} at {budget}",
            metric="accuracy",
            examples=EXAMPLES,
            clusters=groups,
            drawn="made",
            plain={seed: float(plain[column]) for seed, column in columns.items()},
            resampled={seed: resampled[:, column] for seed, column in columns.items()},
            collapsed=dict.fromkeys(SEEDS, False),
        )
    return found


def cell(label: str, budget: str, row: RowScores, *, ranks: tuple[int, ...] = (1, 2, 3)) -> BudgetCell:
    runs = tuple(BudgetRun(seed, f"runs/{seed}", value, False) for seed, value in row.plain.items())
    mean = float(np.mean([*row.plain.values()]))
    return BudgetCell(label, label, budget, 1_000, "study", {"train.learning_rate": 1e-3}, ranks, runs, mean)


def ask(right: dict[str, float], margin: float = 0.02, spread: float = 0.0) -> tuple[tuple[MarginTest, ...], str]:
    made = scores("gelora", right, spread=spread)
    tests = budget_tests("gelora", [*right], made, margin)
    cells = {budget: cell("gelora", budget, made["gelora", budget]) for budget in right}
    found = answer(cells, tests, None, margin=margin, metric="accuracy", examples=EXAMPLES)
    assert found.budget == chosen_budget([*right], tests)
    return tests, found.sentence


def test_the_smallest_budget_within_the_margin_is_named_and_said_to_be_shown() -> None:
    tests, sentence = ask({"0.02M": 0.80, "0.05M": 0.895, "0.3M": 0.9})
    assert [test.shown_worse for test in tests] == [True, False]
    assert [test.shown_within for test in tests] == [False, True]
    assert sentence.startswith(
        "gelora: 0.05M is the smallest budget that is not shown to be worse than 0.3M by more than 0.02 (accuracy "
        "0.8950 against 0.9000, difference 0.0050, 95 % interval"
    )
    assert "3 seeds, 2,000 held-out rows" in sentence
    assert "It is shown to be at most 0.02 worse." in sentence
    assert "Its ranks, block 1 to 3: 1 2 3." in sentence


def test_where_all_smaller_ones_are_worse_the_largest_is_the_answer() -> None:
    tests, sentence = ask({"0.02M": 0.7, "0.05M": 0.8, "0.3M": 0.9})
    assert all(test.shown_worse for test in tests)
    assert "gelora: 0.3M (accuracy 0.9000), the largest: the 2 smaller budgets are shown to be worse" in sentence
    _, alone = ask({"0.02M": 0.7, "0.3M": 0.9})
    assert "the 1 smaller budget is shown to be worse" in alone


def test_data_that_cannot_tell_are_said_to_and_from_which_difference_they_would() -> None:
    tests, sentence = ask({"0.02M": 0.86, "0.3M": 0.9}, spread=0.04)
    assert not tests[0].shown_worse
    assert not tests[0].shown_within
    assert tests[0].detectable is not None
    assert tests[0].detectable > tests[0].difference > 0.02
    assert "0.02M is the smallest budget that is not shown" in sentence
    assert f"only a difference above {tests[0].detectable:.4f} would have been called worse" in sentence


def test_the_two_sides_of_the_margin_are_one_question() -> None:
    for share in (0.86, 0.879, 0.88, 0.881, 0.9, 0.92):
        (test,), _ = ask({"0.02M": share, "0.3M": 0.9}, spread=0.01)
        assert test.p_worse is not None
        assert test.p_within is not None
        assert test.p_worse + test.p_within == pytest.approx(1.0)
        assert test.low is not None
        assert test.high is not None
        assert test.low < test.difference < test.high
    (at_margin,), _ = ask({"0.02M": 0.88, "0.3M": 0.9}, spread=0.01)
    assert at_margin.p_worse == pytest.approx(0.5, abs=0.01)


def test_what_is_detectable_is_just_what_would_be_called_worse() -> None:
    made = scores("gelora", {"a": 0.85, "b": 0.86, "c": 0.9}, spread=0.01)
    made["gelora", "a"] = made["gelora", "b"]  # two tests of the same difference: both have Holm's first p
    test = budget_tests("gelora", ["a", "b", "c"], made, 0.0)[0]
    assert test.detectable is not None
    just_above = budget_tests("gelora", ["a", "b", "c"], made, test.difference - test.detectable + -1e-6)
    just_below = budget_tests("gelora", ["a", "b", "c"], made, test.difference - test.detectable + 1e-6)
    assert [each.shown_worse for each in just_above] == [True, True]
    assert [each.shown_worse for each in just_below] == [False, False]


def test_equal_predictions_are_within_any_margin_and_a_difference_without_spread_has_no_test() -> None:
    (same,), sentence = ask({"0.02M": 0.9, "0.3M": 0.9})
    assert (same.difference, same.p_worse, same.shown_within) == (0.0, 1.0, True)
    assert "0.02M is the smallest" in sentence
    made = scores("gelora", {"0.02M": 0.5, "0.3M": 0.9}, clusters=1)
    tests = budget_tests("gelora", ["0.02M", "0.3M"], made, 0.02)
    assert (tests[0].p_worse, tests[0].shown_worse) == (None, False)
    assert chosen_budget(["0.02M", "0.3M"], tests) == "0.3M"  # what can't be tested is not called as good


def test_a_larger_budget_that_is_worse_is_named() -> None:
    _, sentence = ask({"0.02M": 0.9, "0.05M": 0.7, "0.3M": 0.9})
    assert "0.02M is the smallest budget" in sentence
    assert "Yet 0.05M, which is larger, is shown to be worse." in sentence


@pytest.mark.parametrize(
    ("uniform", "spread", "said"),
    [
        (0.899, 0.0, "Uniform ranks do as well there: they are shown to be at most 0.02 worse (0.8990, 0.0010 below)."),
        (0.8, 0.0, "Uniform ranks are shown to be worse there by more than 0.02 (0.8000, 0.1000 below)."),
        (0.87, 0.05, "Uniform ranks are not shown to be worse there by more than 0.02 (0.8700, 0.0300 below), nor"),
    ],
)
def test_whether_uniform_ranks_do_as_well(uniform: float, spread: float, said: str) -> None:
    made = scores("gelora", {"0.02M": 0.9, "lora": uniform}, spread=0.0)
    row = scores("lora", {"x": uniform}, spread=spread)["lora", "x"] if spread else made["gelora", "lora"]
    other = made["gelora", "0.02M"]
    test = uniform_test(row, other, "gelora", "0.02M", 0.02)
    cells = {"0.02M": cell("gelora", "0.02M", other), "0.3M": cell("gelora", "0.3M", other)}
    tests = budget_tests("gelora", [*cells], {("gelora", budget): other for budget in cells}, 0.02)
    found = answer(
        cells,
        tests,
        (cell("lora", "0.02M", row, ranks=(2, 2, 2)), test),
        margin=0.02,
        metric="accuracy",
        examples=EXAMPLES,
    )
    assert said in found.sentence
    assert found.uniform == test


def test_ranks_that_vary_and_runs_that_all_collapsed_are_said() -> None:
    made = scores("gelora", {"0.02M": 0.9, "0.3M": 0.9})
    tests = budget_tests("gelora", ["0.02M", "0.3M"], made, 0.02)
    cells = {}
    for (_, budget), row in made.items():
        plain = cell("gelora", budget, row)
        cells[budget] = replace(plain, ranks_vary=True)
    uniform = uniform_test(made["gelora", "0.02M"], made["gelora", "0.02M"], "gelora", "0.02M", 0.02)
    found = answer(cells, tests, (cells["0.02M"], uniform), margin=0.02, metric="accuracy", examples=EXAMPLES)
    assert "Its ranks follow the seed or change in training; seed 1 began with, block 1 to 3: 1 2 3." in found.sentence
    assert "Uniform ranks are the same there" not in found.sentence
    for budget, of_budget in cells.items():
        cells[budget] = replace(of_budget, runs=tuple(replace(run, collapsed=True) for run in of_budget.runs))
    found = answer(cells, tests, (cells["0.02M"], uniform), margin=0.02, metric="accuracy", examples=EXAMPLES)
    assert found.budget is None
    assert "no answer. All of its" in found.sentence and "not shown to be worse" not in found.sentence


def test_a_cell_has_an_interval_and_collapsed_runs_are_counted() -> None:
    made = scores("gelora", {"0.02M": 0.85, "0.3M": 0.9}, spread=0.01)
    cells = [cell("gelora", budget, row) for (_, budget), row in made.items()]
    for with_interval in with_intervals(cells, made):
        assert with_interval.low is not None
        assert with_interval.high is not None
        assert with_interval.low < with_interval.mean < with_interval.high
    collapsed = replace(cells[0], runs=tuple(replace(run, collapsed=True) for run in cells[0].runs))
    tests = budget_tests("gelora", ["0.02M", "0.3M"], made, 0.02)
    of_both = {"0.02M": collapsed, "0.3M": cells[1]}
    found = answer(of_both, tests, None, margin=0.02, metric="accuracy", examples=EXAMPLES)
    assert "3 of its runs collapsed" in found.sentence
