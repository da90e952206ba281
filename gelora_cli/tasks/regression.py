"""Regression: a score for each text or pair of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.metrics.definitions import Array
from gelora_cli.models.heads import HeadSpec, ScoreHead
from gelora_cli.tasks.base import Floats, Row, Verdict, is_constant
from gelora_cli.tasks.text import TextKind, TextOutput

if TYPE_CHECKING:
    import torch

    from gelora_cli.data.collate import Batch


@TASK_KINDS.register
class Regression(TextKind):
    """Predict the score of a text: one output (B, 1), squared error, the output itself."""

    name = "regression"
    target = "scores"

    def standardizes(self, task: TaskConfig) -> bool:
        """Return `task.standardize`; `auto` standardizes the user's own data, since GLUE's recipes use plain scores."""
        return task.source == "text" if task.standardize == "auto" else bool(task.standardize)

    def head(self, task: TaskConfig) -> HeadSpec:
        """Return one output."""
        return ScoreHead()

    def loss(self, output: TextOutput, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
        """Return the squared error of logits (B, 1) and scores (B,)."""
        from torch.nn.functional import mse_loss

        return mse_loss(output.logits.float().squeeze(-1), labels, reduction="none")  # (B,)

    def decide(self, logits: Floats) -> Floats:
        """Return the output itself, (n,)."""
        return logits[:, 0]

    def verdict(self, task: TaskConfig, predictions: NDArray[Any], labels: NDArray[Any], value: float) -> Verdict:
        """Compare the scores with the range of the labels."""
        return score_verdict(predictions, labels)

    def arrays(self, task: TaskConfig, reported: str, rows: Sequence[Row]) -> tuple[Array, Array]:
        """Return predicted and true scores, (n,) each; a missing score is nan."""
        predicted, true = [row["prediction"] for row in rows], [row["label"] for row in rows]
        return np.array(predicted, np.float64), np.array(true, np.float64)

    def constant_predictions(self, true: Array) -> Array:
        """Return the mean score for every row, (n,)."""
        return np.full(len(true), true.mean())

    def remedies(self, task: TaskConfig, general: list[str], *, standardized: bool) -> list[str]:
        """Put standardized scores first if the run trained on the scores of the data."""
        return general if standardized else ["task.standardize=true", *general]


def score_verdict(predictions: Floats, labels: Floats) -> Verdict:
    """Compare predicted scores (n,) with the labels (n,)."""
    low, high = float(labels.min()), float(labels.max())
    ranges = f"predicted {predictions.min():.6g} to {predictions.max():.6g}, labels {low:.6g} to {high:.6g}"
    if low == high:
        return Verdict(False, f"one score for all {len(labels):,} rows of the data, so no correlation can be measured")
    if is_constant(predictions, labels):
        return Verdict(True, f"collapsed: one score for all {len(labels):,} rows ({ranges})")
    if ((predictions < low) | (predictions > high)).all():
        return Verdict(True, f"collapsed: every prediction lies outside the range of the labels ({ranges})")
    return Verdict()
