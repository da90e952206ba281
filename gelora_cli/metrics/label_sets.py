"""Metrics of sets of labels: each row has any number of C labels, as 0 and 1.

Letters: R runs, n examples, B resamples, C labels. A score takes `predicted` (R, n, C), `true` (n, C) and `weights`
(B, n), how often each example is in each resample, and returns (B, R). The names of the values are those of
scikit-learn's `f1_score(average=...)`, which gives the same numbers.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METRICS
from gelora_cli.metrics.definitions import Array, Score, f1, ratio, weighted_sums
from gelora_cli.metrics.labels import LabelF1Metric

if TYPE_CHECKING:
    import evaluate


def macro_f1(predicted: Array, true: Array, weights: Array) -> Array:
    """Return the mean over the labels of each label's F1, 2 TP / (2 TP + FP + FN), or 0 for 0/0."""
    hits, marked = _label_counts(predicted, true, weights)
    return np.asarray(ratio(2 * hits, marked).mean(-1))


def label_f1(predicted: Array, true: Array, weights: Array, label: int) -> Array:
    """Return F1 of one label, 2 TP / (2 TP + FP + FN), or 0 for 0/0."""
    return f1(predicted[..., label], true[..., label], weights)


def micro_f1(predicted: Array, true: Array, weights: Array) -> Array:
    """Return F1 of all labels together: 2 TP / (2 TP + FP + FN) with counts over rows and labels, or 0 for 0/0."""
    hits, marked = _label_counts(predicted, true, weights)
    return ratio(2 * hits.sum(-1), marked.sum(-1))


def exact_match(predicted: Array, true: Array, weights: Array) -> Array:
    """Return the share of rows whose set of labels is predicted exactly, 0 to 1."""
    is_exact = (predicted == true).all(-1)  # (R, n)
    return np.asarray(weighted_sums(is_exact, weights) / weights.sum(1, keepdims=True))


def _label_counts(predicted: Array, true: Array, weights: Array) -> tuple[Array, Array]:
    """Return TP, and 2 TP + FP + FN, of each label, (B, R, C) both."""
    hits = _sums_by_label((predicted == 1) & (true == 1), weights)
    marked = _sums_by_label(predicted == 1, weights) + _sums_by_label((true == 1)[None], weights)
    return hits, marked


def _sums_by_label(values: Array, weights: Array) -> Array:
    """Return the weighted sums of values (R, n, C) over the examples: (B, R, C)."""
    runs, examples, labels = values.shape
    flat = values.transpose(0, 2, 1).reshape(runs * labels, examples)  # (R C, n)
    return weighted_sums(flat, weights).reshape(len(weights), runs, labels)


@METRICS.register
class MultilabelF1(LabelF1Metric):
    """Of several labels per row: F1 as the labels' mean (macro), of all together (micro), of each; exact matches."""

    name = "multilabel_f1"
    target = "label_sets"
    reported = "macro_f1"
    scores: ClassVar[dict[str, Score]] = {"macro_f1": macro_f1, "micro_f1": micro_f1, "exact_match": exact_match}
    hub_types: ClassVar = {"macro_f1": "f1", "micro_f1": "f1"}
    averages: ClassVar = {"macro_f1": "macro", "micro_f1": "micro"}

    def label_score(self, number: int) -> Score:
        """Return F1 of one label."""
        return partial(label_f1, label=number)

    def compute(self, predictions: Array, references: Array) -> dict[str, float]:
        """Return every value of two (n, C) arrays of 0 and 1.

        Raises:
            GeloraError: other shapes, or a value other than 0 and 1.
        """
        if predictions.ndim != 2 or predictions.shape != references.shape:
            raise GeloraError(
                f"{self.name}: predictions of shape {predictions.shape} for references of shape {references.shape}; "
                "two (rows, labels) arrays of 0 and 1 are accepted."
            )
        values = np.union1d(predictions, references).tolist()
        if not set(values) <= {0, 1}:
            raise GeloraError(f"{self.name}: values {values[:5]} given; 0 and 1 are accepted.")
        return super().compute(predictions, references)

    def evaluate_metric(self) -> evaluate.Metric:
        """Return a fresh metric of rows with a 0 or 1 for each label."""
        from gelora_cli.metrics.evaluate_metrics import LabelSetMetric

        return LabelSetMetric(self)
