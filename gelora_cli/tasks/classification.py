"""Classification: one label for each text or pair of texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_names, quote
from gelora_cli.core.registries import METRICS, TASK_KINDS
from gelora_cli.metrics.base import metric_of
from gelora_cli.metrics.definitions import Array, of_all
from gelora_cli.models.heads import HeadSpec, LabelHead, ScoreHead
from gelora_cli.tasks.base import Floats, Row, Verdict, is_constant, label_at
from gelora_cli.tasks.losses import LossSettings, WeightedCrossEntropy
from gelora_cli.tasks.text import TextKind, TextOutput

if TYPE_CHECKING:
    import torch

    from gelora_cli.data.collate import Batch
    from gelora_cli.tasks.losses import RowLoss


@TASK_KINDS.register
class Classification(TextKind):
    """Predict which label a text has: logits (B, C), cross entropy, the largest logit."""

    name = "classification"
    target = "labels"
    weighs_classes = True
    smooths_labels = True

    def label_problem(self, task: TaskConfig) -> str | None:
        """Accept as many different labels as the metric is defined for; `task=text` may take them from its rows."""
        if task.source == "text" and not task.labels:
            return None
        setting = f"task.labels=[{join_names(task.labels)}]"
        if len(set(task.labels)) < max(2, len(task.labels)):
            return f"{setting}: two or more different labels are needed"
        if task.metric not in METRICS:  # another check names the accepted metrics
            return None
        metric = METRICS.get(task.metric)
        if metric.accepts_labels(task.labels):
            return None
        return f"{setting}: task.metric={task.metric} needs {metric.needed_labels()}"

    def head(self, task: TaskConfig) -> HeadSpec:
        """Return one output per label, or a single one if no labels are known, which is enough for a profile."""
        return LabelHead(tuple(task.labels)) if task.labels else ScoreHead()

    def loss(self, output: TextOutput, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
        """Return the cross entropy of logits (B, C) and classes (B,)."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(output.logits.float(), labels, reduction="none")  # (B,)

    def training_loss(self, settings: LossSettings) -> RowLoss:
        """Return the cross entropy, with class weights and label smoothing where a user gives them."""
        return self.loss if settings.are_plain else WeightedCrossEntropy(settings)

    def balanced_weights(self, task: TaskConfig, labels: NDArray[np.int64]) -> tuple[float, ...]:
        """Return n / (C n_c) for each class c, with n_c of n training rows, as scikit-learn's `balanced` has it.

        Raises:
            GeloraError: a class without a training row.
        """
        counts = np.bincount(labels, minlength=len(task.labels))  # (C,)
        if missing := [name for name, count in zip(task.labels, counts, strict=True) if not count]:
            raise GeloraError(
                f"task.class_weights=balanced: none of the {len(labels):,} training rows has the label "
                f"{quote(missing[0])}; train on more rows, name the labels of the rows by task.labels=[...], or give "
                "a number for each"
            )
        return tuple(float(weight) for weight in len(labels) / (len(counts) * counts))

    def decide(self, logits: Floats) -> NDArray[np.int64]:
        """Return the class with the largest logit, (n,)."""
        return np.asarray(logits.argmax(1), np.int64)  # (n, C) to (n,)

    def verdict(self, task: TaskConfig, predictions: NDArray[Any], labels: NDArray[Any], value: float) -> Verdict:
        """Compare the classes with the share of the most common label."""
        verdict = label_verdict(predictions, labels, value if task.reported == "accuracy" else None)
        metric = metric_of(task.metric, task.labels)
        if verdict.remark or not metric.names_labels or task.reported == "accuracy":
            return verdict
        score = metric.all_scores()[task.reported]
        to_beat = float(of_all(score, self.constant_predictions_for(task, labels), labels)[0])
        if value > to_beat:
            return verdict
        return Verdict(False, f"the value to beat is {to_beat:.4f}, of one label for all rows: it is not beaten")

    def arrays(self, task: TaskConfig, reported: str, rows: Sequence[Row]) -> tuple[Array, Array]:
        """Return predicted and true classes by number, (n,) each."""
        predicted, true = [row["prediction"] for row in rows], [row["label"] for row in rows]
        if not task.labels:
            return np.array(predicted, np.int64), np.array(true, np.int64)
        number = {label: number for number, label in enumerate(task.labels)}
        return np.array([number[label] for label in predicted]), np.array([number[label] for label in true])

    def packed(self, task: TaskConfig, row: Row) -> object:
        """Return the number of the predicted label, or the prediction of a task without names of labels."""
        return task.labels.index(row["prediction"]) if task.labels else row["prediction"]

    def unpacked(self, task: TaskConfig, value: Any) -> Row:
        """Return the prediction as the label of this number."""
        return {"prediction": label_at(task, value) if task.labels else value}

    def constant_predictions(self, true: Array) -> Array:
        """Return the most common class for every row, (n,)."""
        return np.full(len(true), np.bincount(true).argmax())

    def constant_predictions_for(self, task: TaskConfig, true: Array) -> Array:
        """Return the class that reaches most of the reported value, for every row, (n,).

        It is the most common one for accuracy and macro F1, and the class itself for F1 of one class.
        """
        score = metric_of(task.metric, task.labels).all_scores()[task.reported]
        by_count = np.argsort(-np.bincount(true), kind="stable")  # the most common first, which a tie leaves there
        values = [float(of_all(score, np.full(len(true), label), true)[0]) for label in by_count]
        return np.full(len(true), by_count[int(np.argmax(values))])

    def probabilities(self, task: TaskConfig, row: Row) -> dict[str, Any]:
        """Return the probability of each label by name, the softmax of the scores."""
        scores: list[float] = row["scores"]
        largest = max(scores)  # subtracted, so that exp can't overflow
        weights = [math.exp(score - largest) for score in scores]
        shares = [weight / sum(weights) for weight in weights]
        return {"probabilities": dict(zip(task.labels, shares, strict=True))}

    def guess_loss(self, task: TaskConfig) -> float | None:
        """Return log C of C labels; None with weights of the user's own, whose mean over the rows is not known."""
        known = task.labels and task.class_weights in ("none", "balanced")
        return math.log(len(task.labels)) if known else None

    def remedies(self, task: TaskConfig, general: list[str], *, standardized: bool) -> list[str]:
        """Add the metric that shows a single label for what it is."""
        return general if task.metric == "mcc" else [*general, "task.metric=mcc, which is 0 for one label"]


def label_verdict(predictions: NDArray[np.int64], labels: NDArray[Any], accuracy: float | None) -> Verdict:
    """Compare predicted classes (n,) with the labels (n,); `accuracy` is given for a task that reports it.

    The share of the most common label is the accuracy of a model that ignores the text.
    """
    share = float(np.bincount(labels).max()) / len(labels)
    if share == 1:
        return Verdict(False, f"one label for all {len(labels):,} rows of the data, so the value says little")
    if is_constant(predictions, labels):
        reached = float((labels == predictions[0]).mean())
        known = "that label's share"
        if reached != share:
            known += f", {share:.4f} the most common one's"
        return Verdict(True, f"collapsed: one label for all {len(labels):,} rows ({reached:.4f} is {known})")
    if accuracy is not None and accuracy <= share:
        return Verdict(False, f"the value to beat is {share:.4f}, the share of the most common label: it is not beaten")
    return Verdict()
