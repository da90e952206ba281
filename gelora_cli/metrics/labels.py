"""Metrics of classes."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METRICS
from gelora_cli.metrics.base import Metric
from gelora_cli.metrics.definitions import Array, Score, accuracy, class_f1, f1, macro_f1, matthews_correlation

LONGEST_PART = 40
"""Characters of a label in the name of its value."""


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


class LabelF1Metric(Metric):
    """A metric with macro F1, and F1 of each label by its name once the labels are known.

    Attributes:
        averages: its values that are F1 -> how they average over the labels, as scikit-learn calls it.
    """

    names_labels = True
    averages: ClassVar[Mapping[str, str]] = {"macro_f1": "macro"}

    def __init__(self, labels: Sequence[str] = ()) -> None:
        self.labels = tuple(labels)

    def for_labels(self, names: Sequence[str]) -> LabelF1Metric:
        """Return the metric with a value of each label."""
        return type(self)(names)

    @abstractmethod
    def label_score(self, number: int) -> Score:
        """Return F1 of the label of this number."""

    def all_scores(self) -> Mapping[str, Score]:
        """Return `scores`, and F1 of each label."""
        scores = dict(self.scores)
        for number, value in enumerate(self.label_values().values()):
            scores[value] = self.label_score(number)
        return scores

    def label_values(self) -> Mapping[str, str]:
        """Return each label -> the name of its F1."""
        return label_value_names("f1", self.labels)

    def hub_entry(self, value: str) -> dict[str, Any]:
        """Return `f1`, with the arguments of its `compute` that give this value."""
        if value in self.averages:
            return {"type": "f1", "args": {"average": self.averages[value]}}
        values = [*self.label_values().values()]
        if value in values:
            return {"type": "f1", "args": {"average": "macro", "labels": [values.index(value)]}}
        return super().hub_entry(value)


@METRICS.register
class MacroF1(LabelF1Metric):
    """Accuracy, the mean of the labels' F1, and F1 of each label (`f1_LABEL`), 0 to 1; F1 without any member is 0."""

    name = "macro_f1"
    target = "labels"
    reported = "macro_f1"
    scores: ClassVar = {"accuracy": accuracy, "macro_f1": macro_f1}
    hub_types: ClassVar = {"accuracy": "accuracy", "macro_f1": "f1"}

    def label_score(self, number: int) -> Score:
        """Return F1 of one class."""
        return partial(class_f1, label=number)

    def all_scores(self) -> Mapping[str, Score]:
        """Return accuracy, macro F1 over all labels, and F1 of each."""
        scores = dict(super().all_scores())
        if self.labels:  # labels that no row has count as well
            scores["macro_f1"] = partial(macro_f1, classes=len(self.labels))
        return scores

    def compute(self, predictions: Array, references: Array) -> dict[str, float]:
        """Return every value of two (n,) arrays of classes.

        Raises:
            GeloraError: a class beyond the labels, where they are known: its rows would be missing from the mean.
        """
        classes = np.union1d(predictions, references)
        if self.labels and not set(classes.tolist()) <= set(range(len(self.labels))):
            raise GeloraError(
                f"{self.name}: classes from {classes.min()} to {classes.max()} given; 0 to {len(self.labels) - 1} are "
                "accepted, one for each label."
            )
        return super().compute(predictions, references)


def label_value_names(start: str, labels: Sequence[str]) -> dict[str, str]:
    """Return each label -> the name of its value: `start`, an underscore, and the label's letters, digits and `_-.`.

    Other characters become a hyphen, so that a name needs no quotes in an override, a CSV, a tag of a tracker or the
    name of a file. Where that leaves a label without a letter or digit, or two labels with one name, the names of all
    begin with the number of their label: `f1_0-good`, `f1_1`.
    """
    parts = [re.sub(r"[^A-Za-z0-9_.-]+", "-", label)[:LONGEST_PART] for label in labels]
    counts = Counter(part.casefold() for part in parts)  # names that differ in case alone are one file for some systems
    if all(re.search("[A-Za-z0-9]", part) for part in parts) and max(counts.values(), default=1) == 1:
        return {label: f"{start}_{part}" for label, part in zip(labels, parts, strict=True)}
    numbered = [f"{number}-{part}".rstrip("-") for number, part in enumerate(parts)]
    return {label: f"{start}_{part}" for label, part in zip(labels, numbered, strict=True)}
