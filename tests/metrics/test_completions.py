"""Exact match finds the answer in a text as it is written, and likelihoods are means over tokens, not over rows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gelora_cli.core.registries import METRICS
from gelora_cli.metrics.base import load_metric
from gelora_cli.metrics.completions import AnswerFormat, CompletionMetric, finite_sums, mean_log_likelihood, perplexity

GSM8K = AnswerFormat("####", "number")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("2 + 2 = 4\n#### 4", "4"),
        ("#### 4", "4"),
        ("####4", "4"),
        ("####  1,234 dollars", "1234"),
        ("#### $1,234", "1234"),
        ("#### -7.50.", "-7.50"),
        ("so it is 18\n#### 18\n#### 19", "18"),
        ("#### none, so\n#### 3", "3"),
        ("#### none", None),
        ("4", None),
        ("### 4", None),
        ("", None),
    ],
)
def test_a_number_behind_the_marker_is_found(text: str, answer: str | None) -> None:
    assert GSM8K.find(text) == answer


@pytest.mark.parametrize(
    ("text", "reference", "point"),
    [
        ("#### 1,000", "long\n#### 1000", 1),
        ("#### 18.0", "#### 18", 0),  # compared as texts
        ("1000", "#### 1000", 0),
        ("no number", "no number", 0),  # no answer is a wrong one, also if the reference has none
    ],
)
def test_numbers_are_compared_without_commas(text: str, reference: str, point: int) -> None:
    assert GSM8K.points([text], [reference]).tolist() == [point]


def test_a_text_is_the_whole_completion_or_the_rest_of_a_line() -> None:
    assert AnswerFormat().points([" The cats.\n", "The cat."], ["The cats.", "The cats."]).tolist() == [1, 0]
    line = AnswerFormat("Answer:", "text")
    assert line.find("so\nAnswer: Paris \nAnswer: Rome") == "Paris"
    assert line.find("Paris") is None
    assert AnswerFormat("a.c", "number").find("abc 5") is None  # a marker is no pattern


def test_a_mean_counts_tokens() -> None:
    sums, tokens = np.array([-1.0, -9.0]), np.array([1, 3])
    values = METRICS.get("completions")
    assert isinstance(values, CompletionMetric)
    of_rows = values.of_texts(["a", "b"], ["a", "c"], sums, tokens)
    assert of_rows == {
        "exact_match": 0.5,
        "log_likelihood": -2.5,  # not the mean of the rows' means, -2
        "completion_loss": 2.5,
        "perplexity": pytest.approx(math.exp(2.5)),
    }
    selected_by = METRICS.get("completions").values()
    assert {"completion_loss", "perplexity"}.isdisjoint(selected_by)  # less is better: never selected by


def test_a_resample_draws_rows_with_their_tokens() -> None:
    sums, tokens = np.array([[-1.0, -9.0], [-2.0, -3.0]]), np.array([1, 3])  # two runs
    weights = np.array([[1, 1], [2, 0], [0, 2]])
    expected = np.array([[-10 / 4, -5 / 4], [-1.0, -2.0], [-3.0, -1.0]])
    np.testing.assert_allclose(mean_log_likelihood(sums, tokens, weights), expected)


def test_what_is_not_finite_counts_as_very_unlikely() -> None:
    assert finite_sums([-1.0, math.nan, None, -math.inf], np.array([1, 2, 3, 4])).tolist() == [-1, -200, -300, -400]
    assert math.isfinite(perplexity(-1e6))


def test_the_wrapper_compares_whole_texts() -> None:
    metric = load_metric("completions")
    metric.add_batch(
        predictions=[{"text": "a ", "log_likelihood": -1.0}, {"text": "b", "log_likelihood": -9.0}],
        references=[{"text": "a", "tokens": 1}, {"text": "c", "tokens": 3}],
    )
    assert metric.compute()["log_likelihood"] == -2.5
