"""The loss of each kind of task, one value per row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gelora_cli.data.collate import Batch

Losses = Callable[[Any, Batch, torch.Tensor], torch.Tensor]


def _class_loss(output: Any, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy of logits (B, C) and classes (B,)."""
    return nn.functional.cross_entropy(output.logits.float(), labels, reduction="none")


def _score_loss(output: Any, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
    """Squared error of logits (B, 1) and scores (B,)."""
    return nn.functional.mse_loss(output.logits.float().squeeze(-1), labels, reduction="none")


def _span_loss(output: Any, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy of start and end logits (B, T) and tokens (B, 2), over the window without its padding."""
    padding = batch.inputs["attention_mask"] == 0
    ends = (output.start_logits, labels[:, 0]), (output.end_logits, labels[:, 1])
    start, end = (
        nn.functional.cross_entropy(logits.float().masked_fill(padding, -math.inf), place, reduction="none")
        for logits, place in ends
    )
    return (start + end) / 2


# what the model gave for a batch, and the batch with its labels, to one loss per row (B,)
LOSSES: dict[str, Losses] = {
    "classification": _class_loss,
    "regression": _score_loss,
    "question_answering": _span_loss,
}
