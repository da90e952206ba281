"""Multi-label classification: any number of labels for each text or pair of texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_names, quote_name
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.metrics.base import metric_of
from gelora_cli.metrics.definitions import Array, of_all
from gelora_cli.models.heads import HeadSpec, LabelSetHead, ScoreHead
from gelora_cli.tasks.base import Floats, Row, Verdict, label_at
from gelora_cli.tasks.losses import LossSettings, WeightedBinaryCrossEntropy
from gelora_cli.tasks.text import TextKind, TextOutput

if TYPE_CHECKING:
    import torch

    from gelora_cli.data.collate import Batch
    from gelora_cli.tasks.losses import RowLoss


@TASK_KINDS.register
class Multilabel(TextKind):
    """Predict which labels a text has: logits (B, C), binary cross entropy, each label above `task.threshold`."""

    name = "multilabel"
    target = "label_sets"
    weighs_classes = True
    smooths_labels = True

    def setting_problems(self, task: TaskConfig) -> list[str]:
        """Return that the data is not the user's own, or that columns and names of labels contradict each other."""
        problems = []
        if task.source != "text":
            problems.append(
                f"task.kind={task.kind} reads your own data or a data set of the hub: give task=text data.text=FILE"
            )
        columns = f"task.label_columns=[{join_names(task.label_columns)}]"
        if not task.label_columns:
            return problems
        if task.label not in ("label", None):
            problems.append(f"{columns} and task.label={task.label} exclude each other; leave one out")
        if task.label_separator != "auto":
            problems.append(f"{columns} needs no task.label_separator={task.label_separator}; leave it out")
        if task.labels and task.labels != task.label_columns:
            problems.append(
                f"task.labels=[{join_names(task.labels)}] are not {columns}, whose names are those of the labels; "
                "leave task.labels out"
            )
        return problems

    def label_problem(self, task: TaskConfig) -> str | None:
        """Accept two or more different labels, or none, which are then those of the training rows."""
        for name, values in (("labels", task.labels), ("label_columns", task.label_columns)):
            if values and len(set(values)) < max(2, len(values)):
                return f"task.{name}=[{join_names(values)}]: two or more different labels are needed"
        return None

    def head(self, task: TaskConfig) -> HeadSpec:
        """Return one output per label, or a single one if no labels are known, which is enough for a profile."""
        return LabelSetHead(tuple(task.labels)) if task.labels else ScoreHead()

    def loss(self, output: TextOutput, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean over the labels of the binary cross entropy of logits (B, C) and labels (B, C), 0 or 1.

        Its mean over the rows is torch's `BCEWithLogitsLoss`, with which transformers trains such models.
        """
        from torch.nn.functional import binary_cross_entropy_with_logits

        losses = binary_cross_entropy_with_logits(output.logits.float(), labels, reduction="none")  # (B, C)
        return losses.mean(1)  # (B,)

    def training_loss(self, settings: LossSettings) -> RowLoss:
        """Return the binary cross entropy, with class weights and label smoothing where a user gives them."""
        return self.loss if settings.are_plain else WeightedBinaryCrossEntropy(settings)

    def balanced_weights(self, task: TaskConfig, labels: NDArray[np.float32]) -> tuple[float, ...]:
        """Return for each label the rows without it over those with it, torch's recommended `pos_weight`.

        Raises:
            GeloraError: a label that none or all of the training rows have.
        """
        with_label = labels.sum(0, dtype=np.float64)  # (C,)
        for name, count in zip(task.labels, with_label.tolist(), strict=True):
            if not 0 < count < len(labels):
                raise GeloraError(
                    f"task.class_weights=balanced: {'all' if count else 'none'} of the {len(labels):,} training rows "
                    f"have the label {quote_name(name)}; leave the label out, or give a number for each"
                )
        return tuple(float(weight) for weight in (len(labels) - with_label) / with_label)

    def decide(self, logits: Floats) -> NDArray[np.int64]:
        """Return 1 for each label whose logit is above 0, the probability above 0.5; (n, C)."""
        return np.asarray(logits > 0, np.int64)

    def decide_for(self, task: TaskConfig, logits: Floats) -> NDArray[np.int64]:
        """Return 1 for each label whose probability is above `task.threshold`, (n, C)."""
        # sigmoid(logit) > t is logit > log(t / (1 - t)), which is exactly 0 for 0.5 and never overflows.
        return self.decide(logits - math.log(task.threshold / (1 - task.threshold)))

    def verdict(self, task: TaskConfig, predictions: NDArray[Any], labels: NDArray[Any], value: float) -> Verdict:
        """Compare the predicted sets with the true ones, and the value with that of the best single set."""
        true = labels.astype(np.int64)
        count = len(true)
        if (true == true[0]).all():
            return Verdict(False, f"one set of labels for all {count:,} rows of the data, so the value says little")
        if (predictions == predictions[0]).all():
            names = join_names(quote_name(name) for name in self.written(task, predictions[0]))
            what = f"the same labels ({names})" if names else "no label"
            return Verdict(True, f"collapsed: {what} for all {count:,} rows")
        score = metric_of(task.metric, task.labels).all_scores()[task.reported]
        best = float(of_all(score, self.constant_predictions_for(task, true), true)[0])
        if value <= best:
            return Verdict(
                False, f"the value to beat is {best:.4f}, of one set of labels for all rows: it is not beaten"
            )
        return Verdict()

    def constant_predictions(self, true: Array) -> Array:
        """Return the most common set of labels for every row, (n, C)."""
        sets, counts = np.unique(true, axis=0, return_counts=True)
        return np.broadcast_to(sets[counts.argmax()], true.shape)

    def constant_predictions_for(self, task: TaskConfig, true: Array) -> Array:
        """Return the single set of labels that reaches most of the reported value, for every row, (n, C).

        The candidates are the most common set, which has the most exact matches, all labels, which have the highest F1
        of each label and so the highest macro F1, and the k most common labels of the highest micro F1. With k labels,
        the k most common ones have the most hits: micro F1 is 2 hits / (k n + labels of all rows).
        """
        score = metric_of(task.metric, task.labels).all_scores()[task.reported]
        rows, labels = true.shape
        counts = true.sum(0)  # (C,)
        by_count = np.argsort(-counts, kind="stable")  # (C,)
        micro = 2 * np.cumsum(counts[by_count]) / np.maximum(rows * np.arange(1, labels + 1) + counts.sum(), 1)  # (C,)
        most_common = np.isin(np.arange(labels), by_count[: int(micro.argmax()) + 1]).astype(np.int64)
        candidates = [self.constant_predictions(true)[0], most_common, np.ones(labels, np.int64)]
        values = [float(of_all(score, np.broadcast_to(chosen, true.shape), true)[0]) for chosen in candidates]
        return np.broadcast_to(candidates[int(np.argmax(values))], true.shape)

    def written(self, task: TaskConfig, value: Any) -> list[str]:
        """Return the names of the labels of a row (C,), in their order."""
        return [name for name, has in zip(task.labels, value, strict=True) if has]

    def arrays(self, task: TaskConfig, reported: str, rows: Sequence[Row]) -> tuple[Array, Array]:
        """Return predicted and true sets of labels as 0 and 1, (n, C) each."""
        return self._as_numbers(task, rows, "prediction"), self._as_numbers(task, rows, "label")

    def packed(self, task: TaskConfig, row: Row) -> object:
        """Return the numbers of the predicted labels."""
        return [task.labels.index(label) for label in row["prediction"]]

    def unpacked(self, task: TaskConfig, value: Any) -> Row:
        """Return the prediction as the labels of these numbers."""
        return {"prediction": [label_at(task, index) for index in value]}

    def probabilities(self, task: TaskConfig, row: Row) -> dict[str, Any]:
        """Return the probability of each label by name, the sigmoid of its score; they don't add up to 1."""
        scores: list[float] = row["scores"]
        return {"probabilities": {name: sigmoid(score) for name, score in zip(task.labels, scores, strict=True)}}

    def guess_loss(self, task: TaskConfig) -> float | None:
        """Return log 2, the mean over the labels; None with weights, which count rows with a label otherwise."""
        return math.log(2) if task.class_weights == "none" else None

    def remedies(self, task: TaskConfig, general: list[str], *, standardized: bool) -> list[str]:
        """Add weights, and another threshold: a lower one predicts more labels."""
        weights = ["task.class_weights=balanced"] if task.class_weights == "none" else []
        return [
            *general,
            *weights,
            f"another task.threshold than {task.threshold:g} (a lower one predicts more labels)",
        ]

    def _as_numbers(self, task: TaskConfig, rows: Sequence[Row], key: str) -> Array:
        position = {label: index for index, label in enumerate(task.labels)}
        sets = np.zeros((len(rows), len(position)), np.int64)
        for row, values in enumerate(rows):
            for label in values[key]:
                sets[row, position[label]] = 1
        return sets


def sigmoid(score: float) -> float:
    """Return 1 / (1 + exp(-score)), also for scores whose exponential no float can hold."""
    if score >= 0:
        return 1 / (1 + math.exp(-score))
    share = math.exp(score)
    return share / (1 + share)
