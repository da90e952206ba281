"""Macro F1 and F1 of each label are those of scikit-learn, and their names are safe everywhere."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
from sklearn.metrics import f1_score

from gelora_cli.core.errors import GeloraError
from gelora_cli.metrics.base import load_metric, metric_of
from gelora_cli.metrics.definitions import class_f1, macro_f1, of_all
from gelora_cli.metrics.labels import LONGEST_PART, label_value_names

NAMES = ("ham", "spam", "other", "never")
GENERATOR = np.random.default_rng(0)
TRUE = GENERATOR.choice(3, 200, p=[0.8, 0.15, 0.05])
PREDICTED = np.where(GENERATOR.random(200) < 0.6, TRUE, GENERATOR.integers(0, 3, 200))


@pytest.mark.parametrize("predicted", [PREDICTED, TRUE, np.zeros(200, np.int64), np.full(200, 3)], ids="abcd")
def test_values_are_those_of_scikit_learn(predicted: np.ndarray) -> None:
    # The fourth label is on neither side of three of them: it counts with 0.
    values = metric_of("macro_f1", NAMES).compute(predicted, TRUE)
    arguments = {"labels": range(4), "zero_division": 0.0}
    assert values["macro_f1"] == pytest.approx(f1_score(TRUE, predicted, average="macro", **arguments))
    assert [values[f"f1_{name}"] for name in NAMES] == pytest.approx(
        f1_score(TRUE, predicted, average=None, **arguments)
    )
    assert values["accuracy"] == (predicted == TRUE).mean()
    assert list(values) == ["accuracy", "macro_f1", *(f"f1_{name}" for name in NAMES)]


def test_without_labels_those_of_the_rows_count() -> None:
    values = load_metric("macro_f1").compute(predictions=PREDICTED, references=TRUE)
    assert values["macro_f1"] == pytest.approx(f1_score(TRUE, PREDICTED, average="macro", zero_division=0))
    assert set(values) == {"accuracy", "macro_f1"}


def test_the_wrapper_takes_labels_and_batches() -> None:
    metric = load_metric("macro_f1", NAMES)
    for start in range(0, 200, 64):
        metric.add_batch(predictions=PREDICTED[start : start + 64], references=TRUE[start : start + 64])
    assert metric.compute() == metric_of("macro_f1", NAMES).compute(PREDICTED, TRUE)
    with pytest.raises(GeloraError, match="MacroF1: no predictions"):
        load_metric("macro_f1", NAMES).compute()


@pytest.mark.parametrize("other", [-1, 3, len(NAMES)])
def test_classes_beyond_the_labels_are_refused(other: int) -> None:
    metric = metric_of("macro_f1", NAMES[:3])
    with pytest.raises(GeloraError, match=r"macro_f1: classes from -?\d to \d given; 0 to 2 are accepted"):
        metric.compute(np.array([0, other]), np.array([0, 1]))


def test_two_labels_are_accepted() -> None:
    values = metric_of("macro_f1", ("no", "yes")).compute(PREDICTED % 2, TRUE % 2)
    assert values["f1_yes"] == pytest.approx(f1_score(TRUE % 2, PREDICTED % 2))


@pytest.mark.parametrize("score", [partial(macro_f1, classes=4), partial(class_f1, label=2)])
def test_resamples_are_repeated_rows(score: partial[np.ndarray]) -> None:
    predicted = np.stack([PREDICTED, TRUE, np.zeros_like(TRUE)])[:, :40]
    drawn = GENERATOR.integers(40, size=(10, 40))
    weights = np.stack([np.bincount(rows, minlength=40) for rows in drawn]).astype(float)
    found = score(predicted, TRUE[:40], weights)  # (10, 3)
    for rows, values in zip(drawn, found, strict=True):
        assert values == pytest.approx(of_all(score, predicted[:, rows], TRUE[rows]), abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("ham", "spam"), ["f1_ham", "f1_spam"]),
        (("-1", "0", "1"), ["f1_-1", "f1_0", "f1_1"]),
        (("not spam", "spam/ham=1"), ["f1_not-spam", "f1_spam-ham-1"]),
        (("a b", "a/b"), ["f1_0-a-b", "f1_1-a-b"]),
        (("Good", "good"), ["f1_0-Good", "f1_1-good"]),
        (("\N{GREEK SMALL LETTER ALPHA}", "b"), ["f1_0", "f1_1-b"]),
        (("1", "\N{GREEK SMALL LETTER ALPHA}"), ["f1_0-1", "f1_1"]),
        (("x" * 199 + "1", "x" * 199 + "2"), [f"f1_{number}-{'x' * LONGEST_PART}" for number in (0, 1)]),
    ],
    ids=range(8),
)
def test_names_are_safe_and_different(labels: tuple[str, ...], expected: list[str]) -> None:
    names = label_value_names("f1", labels)
    assert list(names) == list(labels)
    assert list(names.values()) == expected
    assert all(re.fullmatch(r"f1_[A-Za-z0-9_.-]+", name) for name in expected)


def test_values_name_themselves_on_the_hub() -> None:
    metric = metric_of("macro_f1", NAMES)
    assert metric.hub_entry("accuracy") == {"type": "accuracy"}
    assert metric.hub_entry("macro_f1") == {"type": "f1", "args": {"average": "macro"}}
    entry = metric.hub_entry("f1_spam")
    assert entry["type"] == "f1"
    expected = metric.compute(PREDICTED, TRUE)["f1_spam"]
    assert f1_score(TRUE, PREDICTED, **entry["args"]) == pytest.approx(expected)
