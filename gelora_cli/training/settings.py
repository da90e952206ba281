"""What fine-tuning depends on besides model and data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gelora_cli.tasks.losses import BatchLoss


@dataclass(frozen=True)
class TrainSettings:
    """Everything that the numbers of a fine-tuning depend on besides model and data.

    Attributes:
        learning_rate: the largest one of the schedule.
        epochs: passes over the training rows.
        max_steps: the most optimizer steps; None for all of the epochs.
        batch_size: examples of a global batch, over all processes.
        micro_batch_size: the most examples in one forward pass; None for all of a process's share.
        warmup_ratio: share of the steps in which the learning rate grows.
        weight_decay: of AdamW, for all parameters but biases and norms.
        max_grad_norm: the global norm to which larger gradients are scaled.
        log_steps: steps between two readings of the loss.
        seed: decides the batches and the dropout.
        protocol: `last`, `dev` or `split` (see `data.protocol`).
        loss: the loss of each row.
        patience: epochs in a row without a better one after which the training ends; None for all of the epochs.
        packing: whether the rows of a micro-batch are packed rather than padded (`data.packing`).
        fast: whether steps are computed in fewer kernels and with other roundings.
    """

    learning_rate: float
    epochs: int
    max_steps: int | None
    batch_size: int
    micro_batch_size: int | None
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    log_steps: int
    seed: int
    protocol: str
    loss: BatchLoss
    fast: bool = False
    patience: int | None = None
    packing: bool = False

    def total_steps(self, examples: int) -> int:
        """Return the planned optimizer steps, which `patience` may cut; the last batch of an epoch may be smaller."""
        steps = self.epochs * self.steps_per_epoch(examples)
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def steps_per_epoch(self, examples: int) -> int:
        """Return the optimizer steps of one epoch."""
        return math.ceil(examples / self.batch_size)
