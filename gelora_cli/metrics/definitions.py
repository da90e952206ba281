"""GLUE's and SQuAD's metrics in numpy, each defined once for a split and for many resamples of it together.

Letters: R runs, n examples, B resamples, K classes. A score takes `predicted` (R, n), `true` (n,) and `weights` (B, n),
how often each example is in each resample, and returns (B, R), the metric of rows repeated so often. No torch here.
Sets of labels have a further axis: `predicted` (R, n, C), `true` (n, C) (`label_sets.py`).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.core.errors import GeloraError

Array = NDArray[Any]
Score = Callable[[Array, Array, Array], Array]


WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")


def of_all(score: Score, predicted: Array, true: Array) -> Array:
    """Return a score of the data, in which each example counts once: (R, n) or (n,) to (R,).

    Of sets of labels: (R, n, C) or (n, C) to (R,).

    Raises:
        GeloraError: the score gives values of another shape.
    """
    runs = predicted if predicted.ndim > true.ndim else predicted[None]  # (R, n) or (R, n, C)
    values: Array = np.asarray(score(runs, true, np.ones((1, len(true)))))  # (1, R)
    if values.shape != (1, len(runs)):
        name = getattr(score, "__name__", score)
        raise GeloraError(
            f"the score {name} gives values of shape {values.shape} for {len(runs)} runs and 1 resample; accepted: "
            f"(resamples, runs), (1, {len(runs)}). Correct it."
        )
    return np.asarray(values[0])


def accuracy(predicted: Array, true: Array, weights: Array) -> Array:
    """Return the share of equal labels, 0 to 1."""
    return np.asarray(weighted_sums(predicted == true, weights) / weights.sum(1, keepdims=True))


def f1(predicted: Array, true: Array, weights: Array) -> Array:
    """Return F1 of class 1: 2 TP / (2 TP + FP + FN), or 0 for 0/0. Labels are 0 and 1."""
    hits = 2 * weighted_sums((predicted == 1) & (true == 1), weights)  # (B, R)
    return ratio(hits, hits + weighted_sums(predicted != true, weights))


def class_f1(predicted: Array, true: Array, weights: Array, label: int) -> Array:
    """Return F1 of one class, c = `label`: 2 TP_c / (p_c + t_c), or 0 where nothing is predicted as c nor is c.

    p_c examples are predicted as c, t_c are c, and TP_c are both.
    """
    hits, members = _class_counts(predicted, true, weights, label)
    return ratio(hits, members)


def macro_f1(predicted: Array, true: Array, weights: Array, classes: int | None = None) -> Array:
    """Return the mean of the F1 of each class, every class counting the same.

    Args:
        predicted: (R, n).
        true: (n,).
        weights: (B, n).
        classes: how many there are, from 0 on. One that neither side has counts with 0, as in scikit-learn's
            `f1_score(labels=range(classes), average="macro", zero_division=0)`. None: those that a side of a resample
            has, as it takes them without `labels`.
    """
    labels = np.union1d(predicted, true).tolist() if classes is None else range(classes)
    total = np.zeros((len(weights), len(predicted)))  # (B, R)
    present = np.zeros_like(total)
    for label in labels:
        hits, members = _class_counts(predicted, true, weights, label)
        total += ratio(hits, members)
        present += members > 0
    return total / (present if classes is None else classes)


def matthews_correlation(predicted: Array, true: Array, weights: Array) -> Array:
    """Return Matthews' correlation of K classes: cov(x, y) / sqrt(cov(x, x) cov(y, y)), or 0 if a side has one class.

    With N examples, c of them correct, p_k predicted and t_k true members of class k:
    cov(x, y) = c N - sum p_k t_k, cov(x, x) = N^2 - sum p_k^2 (Gorodkin, Computational Biology and Chemistry 28, 2004).
    """
    count = weights.sum(1, keepdims=True)  # (B, 1)
    between = weighted_sums(predicted == true, weights) * count  # (B, R)
    spread_predicted = np.broadcast_to(count**2, between.shape).copy()  # (B, R)
    spread_true = count**2  # (B, 1)
    for label in np.union1d(predicted, true):
        p = weighted_sums(predicted == label, weights)  # (B, R)
        t = weighted_sums((true == label)[None], weights)  # (B, 1)
        between = between - p * t
        spread_predicted = spread_predicted - p * p
        spread_true = spread_true - t * t
    return ratio(between, np.sqrt(spread_predicted * spread_true))


def pearson(predicted: Array, true: Array, weights: Array) -> Array:
    """Return Pearson's correlation.

    If a side is constant or a value is not finite, no correlation is defined. It counts as 0 then, so that a collapsed
    run stays in a mean. (scipy returns nan.)
    """
    return _correlations(predicted, true, weights, lambda values, _: values[None])  # (n,) to (1, n)


def spearman(predicted: Array, true: Array, weights: Array) -> Array:
    """Return Spearman's correlation: Pearson's of the mid-ranks within each resample; 0 as for Pearson's."""
    return _correlations(predicted, true, weights, _mid_ranks)


def pearson_spearman_mean(predicted: Array, true: Array, weights: Array) -> Array:
    """Return the mean of Pearson's and Spearman's correlation."""
    return (pearson(predicted, true, weights) + spearman(predicted, true, weights)) / 2


def mean_points(predicted: Array, true: Array, weights: Array) -> Array:
    """Return 100 times the mean of the questions' points, `question_points` or `points_at_zero`; `true` is ignored."""
    return np.asarray(100 * weighted_sums(predicted, weights) / weights.sum(1, keepdims=True))


def question_points(metric: str, reported: str, texts: Sequence[str], golds: Sequence[Sequence[str]]) -> Array:
    """Return the points of each question's text, 0 to 1, (n,): exact match or F1, the best over its gold answers.

    `metric` is `squad` or `squad_v2`, `reported` is `exact_match` or `f1`. In v2.0 a gold answer without a word after
    normalisation is dropped. A question without a gold answer gives 1 point to a text without words, else 0.
    """
    if reported == "exact_match":
        compare = _exact
    elif metric == "squad":
        compare = _f1
    else:
        compare = _f1_or_both_empty
    points = []
    for text, answers in zip(texts, golds, strict=True):
        accepted: Sequence[str] = answers
        if metric == "squad_v2":
            accepted = [answer for answer in answers if _normalised(answer)] or [""]
        points.append(max(compare(text, answer) for answer in accepted))
    return np.array(points)


def points_at_zero(points: Array, answerable: Array, no_answer: Array) -> Array:
    """Return the points (n,) of v2.0 at threshold 0.

    Above it the prediction is "no answer", which gives 1 point if there is no answer, else 0.
    """
    return np.where(no_answer > 0, ~answerable, points)


def weighted_sums(values: Array, weights: Array) -> Array:
    """Return the weighted sums of values (R, n) with weights (B, n): (B, R)."""
    # float64: counts are exact in it, so a metric that is made of counts doesn't depend on the order of the rows.
    return np.asarray(weights @ values.T.astype(np.float64))


def _class_counts(predicted: Array, true: Array, weights: Array, label: int) -> tuple[Array, Array]:
    """Return 2 TP_c and p_c + t_c of a class, (B, R) each."""
    is_predicted, is_true = predicted == label, (true == label)[None]  # (R, n), (1, n)
    hits = 2 * weighted_sums(is_predicted & is_true, weights)
    return hits, weighted_sums(is_predicted, weights) + weighted_sums(is_true, weights)


def ratio(above: Array, below: Array) -> Array:
    """Return `above / below`, with 0 in place of 0/0."""
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > 0))


def _correlations(predicted: Array, true: Array, weights: Array, form: Callable[[Array, Array], Array]) -> Array:
    """Return the correlations, (B, R), of what `form` makes of values (n,) and weights: (1, n) or (B, n)."""
    right = _centred(true, weights, form)  # (B, n)
    weighted = weights * right  # (B, n)
    columns = []
    for row in predicted:
        left = _centred(row, weights, form)  # (B, n)
        spread = _dot(left * left, weights) * _dot(right, weighted)  # (B,)
        columns.append(np.clip(ratio(_dot(left, weighted), np.sqrt(spread)), -1.0, 1.0))
    return np.stack(columns, axis=1)


def _centred(values: Array, weights: Array, form: Callable[[Array, Array], Array]) -> Array:
    """Return the formed values less their mean, (B, n); zeros for examples not drawn, and if nothing is defined.

    They are scaled to a largest absolute value of 1, so that no square overflows or vanishes.
    """
    drawn, not_finite = weights > 0, ~np.isfinite(values)  # (B, n), (n,)
    values = np.where(not_finite, 0.0, values)
    first = values[drawn.argmax(1)][:, None]  # (B, 1): the first value that each resample drew
    defined = (drawn & (values != first)).any(1) & ~(drawn & not_finite).any(1)  # (B,)
    formed = form(values, weights)  # (1, n) or (B, n)
    means = _dot(np.broadcast_to(formed, weights.shape), weights) / weights.sum(1)  # (B,)
    centred = (formed - means[:, None]) * (drawn & defined[:, None])  # (B, n)
    largest = np.maximum(centred.max(1), -centred.min(1))  # (B,)
    centred /= np.where(defined, largest, 1.0)[:, None]
    return np.asarray(centred)


def _dot(left: Array, right: Array) -> Array:
    """Return the dot product of each row with each row, (B, n) and (B, n) to (B,)."""
    return np.asarray(np.einsum("bn,bn->b", left, right))


def _mid_ranks(values: Array, weights: Array) -> Array:
    """Return the ranks from 1 within each resample, (B, n); equal values share the mean of their ranks."""
    distinct, which = np.unique(values, return_inverse=True)
    # In ascending order of the values, the ranks of equal ones end at the running sum of the counts.
    order = np.argsort(which, kind="stable")
    counts = np.take(weights, order, axis=1)  # (B, n)
    if len(distinct) < len(values):
        starts = np.searchsorted(which[order], np.arange(len(distinct)))
        counts = np.add.reduceat(counts, starts, axis=1)  # (B, distinct)
    return np.asarray((np.cumsum(counts, axis=1) - (counts - 1) / 2)[:, which])


def _exact(text: str, gold: str) -> float:
    return float(_normalised(text) == _normalised(gold))


def _f1(text: str, gold: str) -> float:
    """Return F1 of the words; 0 if they share none, also if both sides have none, as in the script of v1.1."""
    words, gold_words = _normalised(text).split(), _normalised(gold).split()
    common = sum((Counter(words) & Counter(gold_words)).values())
    return 2 * common / (len(words) + len(gold_words)) if common else 0.0


def _f1_or_both_empty(text: str, gold: str) -> float:
    """Return F1 of the words; 1 if both sides have none, as in the script of v2.0."""
    return 1.0 if not (_normalised(text) or _normalised(gold)) else _f1(text, gold)


def _normalised(text: str) -> str:
    """Return a text in lower case, without ASCII punctuation, articles and extra blanks."""
    bare = text.lower().translate(WITHOUT_PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", bare).split())
