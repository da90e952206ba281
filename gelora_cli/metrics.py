"""GLUE's metrics as `evaluate.Metric` classes of our own: no network, no script, no lock, nothing written to disk."""

from __future__ import annotations

import math
import os
import uuid
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray

from gelora_cli.artifacts import GeloraError

Array = NDArray[Any]


class _Metric(evaluate.Metric):  # type: ignore[misc]
    """Predictions and references of one number per example, collected in memory.

    Batches come by `add_batch(predictions=, references=)`, `compute()` gives the values over all of them and forgets
    them. An instance shares nothing with another one, in this process or in any other.
    """

    dtype = "int64"

    def __init__(self) -> None:
        # A fixed seed keeps evaluate from reading numpy's global random state; no metric here draws anything.
        super().__init__(keep_in_memory=True, experiment_id=f"{os.getpid()}-{uuid.uuid4().hex}", seed=0)

    def _build_data_dir(self) -> str:
        # evaluate makes this directory even for a metric in memory, which a read-only home refuses.
        return os.path.join(self._data_dir_root, self.name)  # noqa: PTH118

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({name: datasets.Value(self.dtype) for name in ("predictions", "references")})
        return evaluate.MetricInfo(description=self.__doc__ or "", citation="", features=features)

    def add_batch(self, *, predictions: Any = None, references: Any = None, **other: Any) -> None:
        """Add predictions and references, (n,) each.

        Raises:
            GeloraError: values with a fraction where labels are expected: evaluate would cut it off.
        """
        for name, values in (("predictions", predictions), ("references", references)):
            if self.dtype == "int64" and np.asarray(values).dtype.kind == "f" and len(values):
                raise GeloraError(f"{type(self).__name__}: {name} are fractions, labels are accepted; take the argmax.")
        super().add_batch(predictions=predictions, references=references, **other)

    def compute(self, **given: Any) -> dict[str, float]:
        """The metric's values over everything added, and over `predictions=` and `references=` if given.

        Raises:
            GeloraError: nothing was added.
        """
        if not given and self.writer is None:
            raise self._nothing()
        values: dict[str, float] = super().compute(**given)
        return values

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        if not len(predictions):
            raise self._nothing()
        return self.values(np.asarray(predictions), np.asarray(references))

    def _nothing(self) -> GeloraError:
        return GeloraError(f"{type(self).__name__}: no predictions were added. Evaluate at least one example.")

    def values(self, predictions: Array, references: Array) -> dict[str, float]:
        """The metric of two (n,) arrays, n above 0."""
        raise NotImplementedError


class Accuracy(_Metric):
    """Share of equal labels."""

    def values(self, predictions: Array, references: Array) -> dict[str, float]:
        """`accuracy`, in 0..1."""
        return {"accuracy": float((predictions == references).mean())}


class AccuracyAndF1(_Metric):
    """Accuracy, and F1 of class 1: 2 TP / (2 TP + FP + FN), 0 where that is 0/0. Labels are 0 and 1."""

    def values(self, predictions: Array, references: Array) -> dict[str, float]:
        """`accuracy` and `f1`, in 0..1.

        Raises:
            GeloraError: a label other than 0 and 1.
        """
        labels = np.union1d(predictions, references)
        if not set(labels.tolist()) <= {0, 1}:
            raise GeloraError(f"accuracy_f1: labels {labels.tolist()[:5]} given; 0 and 1 are accepted.")
        true = int(((predictions == 1) & (references == 1)).sum())
        wrong = int((predictions != references).sum())
        f1 = 2 * true / (2 * true + wrong) if true else 0.0
        return {"accuracy": float((predictions == references).mean()), "f1": f1}


class MatthewsCorrelation(_Metric):
    """Matthews correlation of K classes: cov(x, y) / sqrt(cov(x, x) cov(y, y)), 0 where one side has one class.

    With n examples, c of them correct, p_k predicted and t_k true members of class k:
    cov(x, y) = c n - sum p_k t_k, cov(x, x) = n^2 - sum p_k^2 (Gorodkin, Computational Biology and Chemistry 28, 2004).
    """

    def values(self, predictions: Array, references: Array) -> dict[str, float]:
        """`matthews_correlation`, in -1..1."""
        classes = np.union1d(predictions, references)
        predicted, true = (
            np.bincount(np.searchsorted(classes, side), minlength=len(classes)) for side in (predictions, references)
        )
        count, correct = len(predictions), int((predictions == references).sum())
        covariance = correct * count - int(predicted @ true)
        spread = (count**2 - int(predicted @ predicted)) * (count**2 - int(true @ true))
        return {"matthews_correlation": covariance / math.sqrt(spread) if spread else 0.0}


class PearsonAndSpearman(_Metric):
    """Pearson's correlation, Spearman's (Pearson's of the mid-ranks), and their mean.

    Where a side is constant or a value is not finite, no correlation is defined: 0 is given, so that a collapsed run
    stays in a mean. (scipy gives nan.)
    """

    dtype = "float64"

    def values(self, predictions: Array, references: Array) -> dict[str, float]:
        """`pearson`, `spearman` and `pearson_spearman_mean`, in -1..1."""
        defined = all(np.isfinite(side).all() and np.ptp(side) > 0 for side in (predictions, references))
        pearson = _correlation(predictions, references) if defined else 0.0
        spearman = _correlation(_mid_ranks(predictions), _mid_ranks(references)) if defined else 0.0
        return {"pearson": pearson, "spearman": spearman, "pearson_spearman_mean": (pearson + spearman) / 2}


METRICS: dict[str, type[_Metric]] = {
    "accuracy": Accuracy,
    "accuracy_f1": AccuracyAndF1,
    "mcc": MatthewsCorrelation,
    "pearson_spearman": PearsonAndSpearman,
}


def load_metric(name: str) -> _Metric:
    """A fresh metric by its name in a task's YAML.

    Raises:
        GeloraError: no such metric.
    """
    if name not in METRICS:
        raise GeloraError(f"task.metric={name}: unknown metric; accepted: {', '.join(METRICS)}.")
    return METRICS[name]()


def _correlation(left: Array, right: Array) -> float:
    """Pearson's correlation of two (n,) arrays that are not constant."""
    return float(np.clip(_unit(left) @ _unit(right), -1.0, 1.0))


def _unit(values: Array) -> Array:
    """Centred, of length 1; scaled in between, so that no square overflows or vanishes."""
    centred = values - values.mean()
    centred /= np.abs(centred).max()
    return np.asarray(centred / np.linalg.norm(centred))


def _mid_ranks(values: Array) -> Array:
    """Ranks from 1; equal values share the mean of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[which])
