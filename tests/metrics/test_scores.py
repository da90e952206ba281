"""Scores of many resamples at once are the plain metric of the repeated rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gelora_cli.core.registries import METRICS
from gelora_cli.metrics.definitions import of_all, points_at_zero, question_points

Array = NDArray[Any]
SCORES = {name: METRICS.get(name).scores for name in METRICS.names()}
NUMBERS = [(metric, name) for metric, names in SCORES.items() for name in names]


def counts(generator: np.random.Generator, resamples: int, examples: int) -> Array:
    """Return how often each example is drawn, (B, n)."""
    drawn = generator.integers(examples, size=(resamples, examples))
    return np.stack([np.bincount(row, minlength=examples) for row in drawn]).astype(float)


def runs(metric: str, generator: np.random.Generator, examples: int) -> tuple[Array, Array]:
    """Draw five runs, (5, n), the last of them collapsed, and the true values (n,), with many ties among the scores.

    Of sets of labels (5, n, 4) and (n, 4).
    """
    true: Array
    if METRICS.get(metric).target == "label_sets":
        true = (generator.random((examples, 4)) < [0.5, 0.3, 0.1, 0]).astype(int)
        predicted = np.where(generator.random((5, examples, 4)) < 0.7, true, generator.integers(0, 2, (5, examples, 4)))
        predicted[4] = 0
        return predicted, true
    if metric.startswith("squad"):
        return generator.random((5, examples)), np.zeros(examples)
    if metric == "pearson_spearman":
        true = np.round(generator.normal(size=examples), 1)
        predicted = np.round(true + generator.normal(size=(5, examples)), 1)
    else:
        true = generator.integers(0, 2 if metric == "accuracy_f1" else 3, examples)
        predicted = np.where(generator.random((5, examples)) < 0.6, true, generator.integers(0, 2, (5, examples)))
    predicted[4] = 1
    return predicted, true


@pytest.mark.parametrize(("metric", "name"), NUMBERS)
@pytest.mark.parametrize("examples", [1, 2, 9, 120])
def test_weights_are_repeated_rows(metric: str, name: str, examples: int) -> None:
    generator = np.random.default_rng(examples)
    predicted, true = runs(metric, generator, examples)
    weights = counts(generator, 20, examples)
    found = SCORES[metric][name](predicted, true, weights)
    assert found.shape == (20, 5)
    for resample, row in zip(weights, found, strict=True):
        rows = np.repeat(np.arange(examples), resample.astype(int))
        assert row == pytest.approx(of_all(SCORES[metric][name], predicted[:, rows], true[rows]), abs=1e-12)


@pytest.mark.parametrize("name", ["pearson", "spearman", "pearson_spearman_mean"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_counts_where_it_is_drawn(name: str, bad: float) -> None:
    predicted, true = np.array([[0.0, 1.0, bad, 2.5]]), np.array([1.0, 2.0, 3.0, 4.0])
    with_it, without = SCORES["pearson_spearman"][name](predicted, true, np.array([[1.0, 1, 2, 0], [2.0, 1, 0, 1]]))
    assert with_it == 0
    rows = [0, 0, 1, 3]
    assert without == pytest.approx(of_all(SCORES["pearson_spearman"][name], predicted[:, rows], true[rows]))
    assert without > 0.9


def test_a_constant_resample_has_no_correlation() -> None:
    weights = np.array([[0.0, 3.0, 0.0], [1.0, 2.0, 0.0]])
    found = SCORES["pearson_spearman"]["pearson"](np.array([[0.1, 0.2, 0.3]]), np.array([1.0, 2.0, 2.0]), weights)
    assert found[:, 0] == pytest.approx([0.0, 1.0])


def test_points_of_questions_worked_out_by_hand() -> None:
    texts, golds = ["the cat", "cat sat", "", "dog", ""], [["Cat!"], ["cat", "dog"], ["the"], [], []]
    assert question_points("squad", "f1", texts[:3], golds[:3]) == pytest.approx([1, 2 / 3, 0])
    assert question_points("squad", "exact_match", texts[:3], golds[:3]).tolist() == [1, 0, 1]
    points = question_points("squad_v2", "f1", texts, golds)
    assert points == pytest.approx([1, 2 / 3, 1, 0, 1])
    answerable, no_answer = np.array([bool(gold) for gold in golds]), np.array([1.0, -1.0, 2.0, 3.0, -2.0])
    assert points_at_zero(points, answerable, no_answer) == pytest.approx([0, 2 / 3, 0, 1, 1])
