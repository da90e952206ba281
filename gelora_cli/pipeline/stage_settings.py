"""The part of a run's configuration that each stage depends on."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from gelora_cli.config.schema import RunConfig
from gelora_cli.core.registries import TASK_KINDS

if TYPE_CHECKING:
    from gelora_cli.training.settings import TrainSettings

NOT_OF_TRAINING = ("eval_batch_size", "checkpoint_steps", "checkpoint_seconds")
"""Keys of `train` that evaluation and checkpoints use; no number of the training depends on them."""


def train_settings(config: RunConfig) -> TrainSettings:
    """Return what fine-tuning depends on, beside model, method and rows."""
    from gelora_cli.training.settings import TrainSettings

    settings = {name: value for name, value in asdict(config.train).items() if name not in NOT_OF_TRAINING}
    loss = TASK_KINDS.get(config.task.kind).loss
    return TrainSettings(**settings, seed=config.seed, protocol=config.protocol, loss=loss)
