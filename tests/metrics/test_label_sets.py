"""Metrics of several labels per row are scikit-learn's, on random rows and where there is nothing to count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METRICS
from gelora_cli.metrics.base import load_metric

Sets = NDArray[np.int64]


def expected(predicted: Sets, true: Sets) -> dict[str, float]:
    return {
        "macro_f1": f1_score(true, predicted, average="macro", zero_division=0),
        "micro_f1": f1_score(true, predicted, average="micro", zero_division=0),
        "exact_match": accuracy_score(true, predicted),
    }


def test_each_label_has_a_value_by_its_name() -> None:
    predicted, true = random_sets(5, 60, 3)
    metric = METRICS.get("multilabel_f1").for_labels(["toxic", "off topic", "rare"])
    values = metric.compute(predicted, true)
    assert list(values) == ["macro_f1", "micro_f1", "exact_match", "f1_toxic", "f1_off-topic", "f1_rare"]
    assert [*values.values()][3:] == pytest.approx(f1_score(true, predicted, average=None, zero_division=0).tolist())
    for name, value in values.items():
        if name != "exact_match":
            entry = metric.hub_entry(name)
            assert value == pytest.approx(f1_score(true, predicted, zero_division=0, **entry["args"]))


def random_sets(seed: int, examples: int, labels: int) -> tuple[Sets, Sets]:
    generator = np.random.default_rng(seed)
    true = (generator.random((examples, labels)) < np.linspace(0.6, 0.02, labels)).astype(np.int64)
    predicted = np.where(generator.random((examples, labels)) < 0.8, true, 1 - true)
    return predicted, true


@pytest.mark.parametrize(("seed", "examples", "labels"), [(0, 1, 2), (1, 7, 3), (2, 200, 6), (3, 50, 28)])
def test_values_are_those_of_scikit_learn(seed: int, examples: int, labels: int) -> None:
    predicted, true = random_sets(seed, examples, labels)
    assert METRICS.get("multilabel_f1").compute(predicted, true) == pytest.approx(expected(predicted, true), abs=1e-12)


@pytest.mark.parametrize(("predicted", "true"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_nothing_predicted_or_nothing_true(predicted: int, true: int) -> None:
    sets = np.full((4, 3), predicted), np.full((4, 3), true)
    values = METRICS.get("multilabel_f1").compute(*sets)
    assert values == pytest.approx(expected(*sets))
    assert values["macro_f1"] == float(predicted == true == 1)


def test_the_wrapper_adds_batches_to_the_same_values() -> None:
    predicted, true = random_sets(4, 40, 5)
    metric = load_metric("multilabel_f1")
    for rows in (slice(0, 25), slice(25, 40)):
        metric.add_batch(predictions=predicted[rows], references=true[rows])
    assert metric.compute() == pytest.approx(expected(predicted, true))
    with pytest.raises(GeloraError, match="say for each label whether its logit is above 0"):
        metric.add_batch(predictions=predicted + 0.5, references=true)


@pytest.mark.parametrize(
    ("predicted", "said"),
    [(np.zeros((3, 2)), "shape"), (np.zeros(4), "shape"), (np.full((4, 2), 2), "0 and 1 are accepted")],
)
def test_other_arrays_are_refused(predicted: Any, said: str) -> None:
    with pytest.raises(GeloraError, match=said):
        METRICS.get("multilabel_f1").compute(predicted, np.zeros((4, 2), np.int64))
