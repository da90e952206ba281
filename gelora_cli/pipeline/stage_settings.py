"""The part of a run's configuration that each stage depends on."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from gelora_cli.core.registries import TASK_KINDS

if TYPE_CHECKING:
    from gelora_cli.config.schema import RunConfig
    from gelora_cli.pipeline.session import Session
    from gelora_cli.training.settings import TrainSettings

NOT_OF_TRAINING = (
    *("eval_batch_size", "checkpoint_steps", "checkpoint_seconds", "label_smoothing"),
    "gradient_checkpointing",
)
"""Keys of `train` that evaluation and checkpoints use, that are in the loss, or that change no number."""


def train_settings(session: Session) -> TrainSettings:
    """Return what fine-tuning depends on, beside model, method and rows."""
    from gelora_cli.training.settings import TrainSettings

    config = session.config
    settings = {name: value for name, value in asdict(config.train).items() if name not in NOT_OF_TRAINING}
    return TrainSettings(**settings, seed=config.seed, protocol=config.protocol, loss=session.loss)


def evaluates_first(config: RunConfig) -> bool:
    """Return whether the model is evaluated before its first step, too: a new head would say nothing then."""
    return TASK_KINDS.get(config.task.kind).head(config.task).is_pretrained
