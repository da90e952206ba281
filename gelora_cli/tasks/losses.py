"""The loss of a row as a training computes it: class weights and label smoothing; importing this file imports no torch.

Letters: B rows of a batch, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gelora_cli.config.class_weights import BALANCED, NONE
from gelora_cli.config.schema import RunConfig, TaskConfig
from gelora_cli.core.registries import TASK_KINDS

if TYPE_CHECKING:
    import torch

    from gelora_cli.data.collate import Batch
    from gelora_cli.data.sources import Split
    from gelora_cli.tasks.base import TaskKind

    RowLoss = Callable[[Any, Batch, torch.Tensor], torch.Tensor]
    """From the output of the model, the batch, and its labels (B, ...) to one loss per row, (B,)."""


@dataclass(frozen=True)
class BatchLoss:
    """The loss of each row of a batch, from one forward pass.

    Attributes:
        kind: the kind of the task, which says what the model reads of a batch.
        of_rows: the loss of each row, from the output of the model.
    """

    kind: TaskKind[Any, Any, Any]
    of_rows: RowLoss

    def __call__(self, model: Callable[..., Any], batch: Batch) -> torch.Tensor:
        """Return the loss of each row, (B,); the batch must have labels."""
        assert batch.labels is not None
        return self.of_rows(model(**self.kind.model_inputs(batch)), batch, batch.labels)


class Logits(Protocol):
    """The output of a model with a number per class."""

    logits: torch.Tensor  # (B, C)


@dataclass(frozen=True)
class LossSettings:
    """What a user may change about the loss of a task kind.

    Attributes:
        class_weights: a positive number for each label in order; None for a loss without weights.
        label_smoothing: the share of the target that is spread evenly over all classes, 0 to below 1.
    """

    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0

    @property
    def are_plain(self) -> bool:
        """Return whether the loss is that of the task kind itself."""
        return self.class_weights is None and self.label_smoothing == 0


class _WeightedLoss:
    """A loss with weights of the labels, put on the device of the logits once.

    Args:
        settings: the weights and the smoothing.
    """

    def __init__(self, settings: LossSettings) -> None:
        self.settings = settings
        self._weights: torch.Tensor | None = None  # (C,), put on the device once: a copy would wait for it

    def _weights_on(self, device: torch.device) -> torch.Tensor | None:
        import torch

        if self.settings.class_weights is None:
            return None
        if self._weights is None or self._weights.device != device:
            self._weights = torch.tensor(self.settings.class_weights, device=device)
        return self._weights


class WeightedCrossEntropy(_WeightedLoss):
    """The cross entropy of a row with class weights w and label smoothing e, as torch's `CrossEntropyLoss` has it.

        loss = - sum over c of w_c q_c log p_c,   q_c = (1 - e) [c = y] + e / C

    p is the softmax of the logits, y the class of the row. Without smoothing it is w_y times the cross entropy. The
    mean over a batch is not torch's: that divides by the sum of the weights w_y, a training here by the rows, so that
    the loss of a row never depends on the other rows of its batch.
    """

    def __call__(self, output: Logits, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row, (B,), from logits (B, C) and classes (B,)."""
        from torch.nn.functional import cross_entropy

        logits = output.logits.float()
        weights, smoothing = self._weights_on(logits.device), self.settings.label_smoothing
        return cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing, reduction="none")


class WeightedBinaryCrossEntropy(_WeightedLoss):
    """The binary cross entropy of a row with several labels, with class weights w and label smoothing e.

        loss = - mean over c of w_c q_c log s_c + (1 - q_c) log (1 - s_c),   q_c = (1 - e) y_c + e / 2

    s is the sigmoid of the logits, y_c 1 for a label of the row and else 0. The weights are the `pos_weight` of torch's
    `BCEWithLogitsLoss`: they count what a row has, not what it lacks. The smoothing is that of Keras's
    `BinaryCrossentropy`.
    """

    def __call__(self, output: Logits, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row, (B,), from logits (B, C) and labels (B, C), 0 or 1."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        logits, smoothing = output.logits.float(), self.settings.label_smoothing
        targets = labels * (1 - smoothing) + smoothing / 2  # (B, C)
        weights = self._weights_on(logits.device)
        losses = binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none")  # (B, C)
        return losses.mean(1)


def training_loss(config: RunConfig, rows: Split) -> BatchLoss:
    """Return the loss of each row that a run minimises.

    Args:
        config: the run, with its class weights in order (`with_ordered_weights`).
        rows: with labels, to which the weights are balanced.

    Raises:
        GeloraError: the weights can't be balanced.
    """
    settings = LossSettings(class_weights(config.task, rows), config.train.label_smoothing)
    kind = TASK_KINDS.get(config.task.kind)
    return BatchLoss(kind, kind.training_loss(settings))


def class_weights(task: TaskConfig, rows: Split) -> tuple[float, ...] | None:
    """Return the weight of each label in order, those of `balanced` from the training rows; None without weights.

    Raises:
        GeloraError: the weights can't be balanced.
    """
    if task.class_weights == NONE:
        return None
    if task.class_weights == BALANCED:
        weights: tuple[float, ...] = TASK_KINDS.get(task.kind).balanced_weights(task, np.asarray(rows.labels))
        return weights
    return tuple(task.class_weights)
