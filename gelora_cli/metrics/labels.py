"""Metrics of classes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METRICS
from gelora_cli.metrics.base import Metric
from gelora_cli.metrics.definitions import Array, accuracy, f1, matthews_correlation


@METRICS.register
class Accuracy(Metric):
    """Share of equal labels, 0 to 1."""

    name = "accuracy"
    target = "labels"
    reported = "accuracy"
    scores: ClassVar = {"accuracy": accuracy}
    hub_types: ClassVar = {"accuracy": "accuracy"}


@METRICS.register
class AccuracyAndF1(Metric):
    """Accuracy and F1 of class 1, 0 to 1. Labels are 0 and 1."""

    name = "accuracy_f1"
    target = "labels"
    reported = "f1"
    scores: ClassVar = {"accuracy": accuracy, "f1": f1}
    hub_types: ClassVar = {"accuracy": "accuracy", "f1": "f1"}
    max_labels = 2

    def compute(self, predictions: Array, references: Array) -> dict[str, float]:
        """Return both values of two (n,) arrays.

        Raises:
            GeloraError: a label other than 0 and 1.
        """
        labels = np.union1d(predictions, references)
        if not set(labels.tolist()) <= {0, 1}:
            raise GeloraError(f"accuracy_f1: labels {labels.tolist()[:5]} given; 0 and 1 are accepted.")
        return super().compute(predictions, references)


@METRICS.register
class MatthewsCorrelation(Metric):
    """Matthews correlation of K classes, -1 to 1."""

    name = "mcc"
    target = "labels"
    reported = "matthews_correlation"
    scores: ClassVar = {"matthews_correlation": matthews_correlation}
    hub_types: ClassVar = {"matthews_correlation": "matthews_correlation"}
