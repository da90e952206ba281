"""The part of a run's configuration that each stage depends on."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from gelora_cli.config.schema import RunConfig
from gelora_cli.core.artifacts.profile import ProfileSettings
from gelora_cli.core.registries import TASK_KINDS

if TYPE_CHECKING:
    from gelora_cli.training.settings import TrainSettings

NOT_OF_TRAINING = ("eval_batch_size", "checkpoint_steps", "checkpoint_seconds")
"""Keys of `train` that evaluation and checkpoints use; no number of the training depends on them."""


def profile_settings(config: RunConfig) -> ProfileSettings:
    """Return what the numbers of a profile depend on, beside model and texts."""
    profile, task = config.profile, config.task
    has_windows = TASK_KINDS.get(task.kind).has_windows
    return ProfileSettings(
        pooling=profile.pooling,
        estimator=profile.estimator,
        discard=profile.discard,
        max_examples=profile.max_examples,
        max_length=task.max_length,
        seed=profile.seed,
        stride=task.stride if has_windows else None,
        max_question_length=task.max_question_length if has_windows else None,
    )


def train_settings(config: RunConfig) -> TrainSettings:
    """Return what fine-tuning depends on, beside model, method and rows."""
    from gelora_cli.training.settings import TrainSettings

    settings = {name: value for name, value in asdict(config.train).items() if name not in NOT_OF_TRAINING}
    loss = TASK_KINDS.get(config.task.kind).loss
    return TrainSettings(**settings, seed=config.seed, protocol=config.protocol, loss=loss)
