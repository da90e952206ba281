"""What fine-tuning depends on, beside model and data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from gelora_cli.data.collate import Batch

    Loss = Callable[[Any, Batch, torch.Tensor], torch.Tensor]
    """What the model gave for a batch, the batch, and its labels (B, ...), to one loss per row (B,)."""


@dataclass(frozen=True)
class TrainSettings:
    """Everything that fine-tuning depends on, beside model and data; batch sizes in examples, lengths in steps."""

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
    loss: Loss

    def total_steps(self, examples: int) -> int:
        """Return the optimizer steps of the whole training; the last batch of an epoch may be smaller."""
        steps = self.epochs * self.steps_per_epoch(examples)
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def steps_per_epoch(self, examples: int) -> int:
        """Return the optimizer steps of one epoch."""
        return math.ceil(examples / self.batch_size)
