"""Shared by the tests of several packages, first met in test_train.py."""

from __future__ import annotations

from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.tasks.losses import BatchLoss
from gelora_cli.training.settings import TrainSettings

SETTINGS = TrainSettings(
    learning_rate=1e-3,
    epochs=2,
    max_steps=None,
    batch_size=8,
    micro_batch_size=None,
    warmup_ratio=0.2,
    weight_decay=0.0,
    max_grad_norm=1.0,
    log_steps=1,
    seed=0,
    protocol="last",
    loss=BatchLoss(TASK_KINDS.get("classification"), TASK_KINDS.get("classification").loss),
)
