"""The settings of the trainings that benchmarks measure."""

from __future__ import annotations

from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.tasks.losses import BatchLoss
from gelora_cli.training.settings import TrainSettings


def measured_settings(kind: str, *, learning_rate: float, epochs: int, batch_size: int) -> TrainSettings:
    """Return the settings of whole batches, without weight decay, with the loss of a task kind.

    The loss is never read, which would wait for the device.
    """
    entry = TASK_KINDS.get(kind)
    return TrainSettings(
        learning_rate=learning_rate,
        epochs=epochs,
        max_steps=None,
        batch_size=batch_size,
        micro_batch_size=None,
        warmup_ratio=0.06,
        weight_decay=0.0,
        max_grad_norm=1.0,
        log_steps=1_000_000,
        seed=0,
        protocol="last",
        loss=BatchLoss(entry, entry.loss),
    )
