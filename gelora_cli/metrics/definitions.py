"""GLUE's and SQuAD's metrics in numpy, each defined once: of a split, and of many resamples of it together.

Shapes: R runs, n examples, B resamples. A score takes `predicted` (R, n), `true` (n,) and `weights` (B, n), how often
each example is in each resample, and gives (B, R): what the metric is of rows repeated so often. No torch, no files.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Score = Callable[[Array, Array, Array], Array]


WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")


def of_all(score: Score, predicted: Array, true: Array) -> Array:
    """A score of the data as they are, each example once: (R, n) or (n,) to (R,)."""
    return np.asarray(score(np.atleast_2d(predicted), true, np.ones((1, len(true))))[0])


def accuracy(predicted: Array, true: Array, weights: Array) -> Array:
    """Share of equal labels, 0 to 1."""
    return np.asarray(_sums(predicted == true, weights) / weights.sum(1, keepdims=True))


def f1(predicted: Array, true: Array, weights: Array) -> Array:
    """F1 of class 1: 2 TP / (2 TP + FP + FN), 0 where that is 0/0. Labels are 0 and 1."""
    hits = 2 * _sums((predicted == 1) & (true == 1), weights)
    return _ratio(hits, hits + _sums(predicted != true, weights))


def matthews_correlation(predicted: Array, true: Array, weights: Array) -> Array:
    """Matthews correlation of K classes: cov(x, y) / sqrt(cov(x, x) cov(y, y)), 0 where one side has one class.

    With N examples, c of them correct, p_k predicted and t_k true members of class k:
    cov(x, y) = c N - sum p_k t_k, cov(x, x) = N^2 - sum p_k^2 (Gorodkin, Computational Biology and Chemistry 28, 2004).
    """
    count = weights.sum(1, keepdims=True)
    between = _sums(predicted == true, weights) * count
    spread_predicted, spread_true = np.broadcast_to(count**2, between.shape).copy(), count**2
    for label in np.union1d(predicted, true):
        p, t = _sums(predicted == label, weights), _sums((true == label)[None], weights)
        between, spread_predicted, spread_true = between - p * t, spread_predicted - p * p, spread_true - t * t
    return _ratio(between, np.sqrt(spread_predicted * spread_true))


def pearson(predicted: Array, true: Array, weights: Array) -> Array:
    """Pearson's correlation.

    Where a side is constant or a value is not finite, no correlation is defined: 0 is given, so that a collapsed run
    stays in a mean. (scipy gives nan.)
    """
    return _correlations(predicted, true, weights, lambda values, _: values[None])


def spearman(predicted: Array, true: Array, weights: Array) -> Array:
    """Spearman's correlation: Pearson's of the mid-ranks within each resample; 0 as for Pearson's."""
    return _correlations(predicted, true, weights, _mid_ranks)


def pearson_spearman_mean(predicted: Array, true: Array, weights: Array) -> Array:
    """The mean of Pearson's and Spearman's correlation."""
    return (pearson(predicted, true, weights) + spearman(predicted, true, weights)) / 2


def mean_points(predicted: Array, true: Array, weights: Array) -> Array:
    """100 times the mean of the questions' points, `question_points` or `points_at_zero`; `true` is not looked at."""
    return np.asarray(100 * _sums(predicted, weights) / weights.sum(1, keepdims=True))


def question_points(metric: str, reported: str, texts: Sequence[str], golds: Sequence[Sequence[str]]) -> Array:
    """What each question's text is worth, 0 to 1, (n,): exact match or F1, the best over its gold answers.

    `metric` is `squad` or `squad_v2`, `reported` `exact_match` or `f1`. In v2.0 a gold answer of which no word is left
    counts as none, a question without a gold answer is worth 1 where no word is said, and equal silence has F1 1.
    """
    compare = _exact if reported == "exact_match" else _f1 if metric == "squad" else _f1_or_silence
    if metric == "squad_v2":
        golds = [[gold for gold in said if _normalised(gold)] or [""] for said in golds]
    points = [max(compare(text, gold) for gold in said) for text, said in zip(texts, golds, strict=True)]
    return np.array(points)


def points_at_zero(points: Array, answerable: Array, no_answer: Array) -> Array:
    """The points (n,) of v2.0 at threshold 0: above it nothing is said, worth 1 if there is no answer, else 0."""
    return np.where(no_answer > 0, ~answerable, points)


def _sums(values: Array, weights: Array) -> Array:
    """(R, n) and (B, n) to (B, R)."""
    return np.asarray(weights @ values.T.astype(np.float64))


def _ratio(above: Array, below: Array) -> Array:
    """0 where `below` is."""
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > 0))


def _correlations(predicted: Array, true: Array, weights: Array, form: Callable[[Array, Array], Array]) -> Array:
    """Correlations of what `form` makes of values (n,) and weights: (1, n) or (B, n)."""
    right = _centred(true, weights, form)
    weighted = weights * right
    return np.stack([_correlation(_centred(row, weights, form), right, weights, weighted) for row in predicted], axis=1)


def _correlation(left: Array, right: Array, weights: Array, weighted: Array) -> Array:
    """Of centred values (B, n), (B,); `weighted` is weights * right."""
    spread = _dot(left * left, weights) * _dot(right, weighted)
    return np.clip(_ratio(_dot(left, weighted), np.sqrt(spread)), -1.0, 1.0)


def _centred(values: Array, weights: Array, form: Callable[[Array, Array], Array]) -> Array:
    """The formed values less their mean, (B, n); zeros where no example is drawn or the correlation is not defined.

    Scaled to a largest value of 1, so that no square overflows or vanishes.
    """
    seen, broken = weights > 0, ~np.isfinite(values)
    values = np.where(broken, 0.0, values)
    first = values[seen.argmax(1)][:, None]
    defined = (seen & (values != first)).any(1) & ~(seen & broken).any(1)
    formed = form(values, weights)
    means = _dot(np.broadcast_to(formed, weights.shape), weights) / weights.sum(1)
    centred = (formed - means[:, None]) * (seen & defined[:, None])
    largest = np.maximum(centred.max(1), -centred.min(1))
    centred /= np.where(defined, largest, 1.0)[:, None]
    return np.asarray(centred)


def _dot(left: Array, right: Array) -> Array:
    """Row by row, (B, n) and (B, n) to (B,)."""
    return np.asarray(np.einsum("bn,bn->b", left, right))


def _mid_ranks(values: Array, weights: Array) -> Array:
    """Ranks from 1 within each resample, (B, n); equal values share the mean of theirs."""
    distinct, which = np.unique(values, return_inverse=True)
    order = np.argsort(which, kind="stable")
    counts = np.take(weights, order, axis=1)
    if len(distinct) < len(values):
        starts = np.searchsorted(which[order], np.arange(len(distinct)))
        counts = np.add.reduceat(counts, starts, axis=1)  # (B, distinct)
    return np.asarray((np.cumsum(counts, axis=1) - (counts - 1) / 2)[:, which])


def _exact(text: str, gold: str) -> float:
    return float(_normalised(text) == _normalised(gold))


def _f1(text: str, gold: str) -> float:
    """F1 of the words; 0 where they share none, so also where both sides have none, as in the script of v1.1."""
    words, wanted = _normalised(text).split(), _normalised(gold).split()
    common = sum((Counter(words) & Counter(wanted)).values())
    return 2 * common / (len(words) + len(wanted)) if common else 0.0


def _f1_or_silence(text: str, gold: str) -> float:
    """F1 of the words; 1 where both sides have none, as in the script of v2.0."""
    return 1.0 if not (_normalised(text) or _normalised(gold)) else _f1(text, gold)


def _normalised(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and extra blanks."""
    bare = text.lower().translate(WITHOUT_PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", bare).split())
