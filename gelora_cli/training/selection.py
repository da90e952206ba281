"""Which epoch's weights a training keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from gelora_cli.core.artifacts.result import EvalResult
from gelora_cli.training.callback import Callback
from gelora_cli.training.state import Best

if TYPE_CHECKING:
    from gelora_cli.training.loop import Trainer

SAME_VALUE = 1e-12
"""Values of a metric that differ by less, of 1 or relatively, are the same but for the rounding of their sums."""


class BestEpoch(Callback):
    """Keeps the last epoch, or with a protocol that selects the best one that keeps the budget.

    Args:
        select: called after an evaluation whose epoch is the one to keep so far.
    """

    def __init__(self, select: Callable[[], None]) -> None:
        self.select = select

    def on_evaluation(self, trainer: Trainer, results: tuple[EvalResult, ...]) -> None:
        """Keep the epoch where it is the best so far."""
        state, value = trainer.state, results[0].value
        settled = trainer.attached.budget_reached()
        if settled and not state.settled_epoch:
            state.settled_epoch = state.epoch
        # Every process has the same results, so all of them keep the same epoch.
        if trainer.settings.protocol == "last":
            state.best = Best(value, state.epoch, {})
        elif is_better(value, state.best.value) and settled:
            state.best = Best(value, state.epoch, state.copy_weights())
        if state.best.epoch == state.epoch:
            self.select()

    def on_end(self, trainer: Trainer) -> None:
        """Put the best epoch's weights back, of which there are none with a protocol that keeps the last."""
        parameters = trainer.attached.trainable()
        with torch.no_grad():
            for name, tensor in trainer.state.best.weights.items():
                parameters[name].copy_(tensor)


def best_epoch(evaluations: Sequence[tuple[EvalResult, ...]]) -> tuple[int, float]:
    """Return the earliest epoch (from 1) with the highest reported value of the first split, and that value."""
    best, best_value = 1, evaluations[0][0].value
    for epoch, results in enumerate(evaluations, 1):
        if is_better(results[0].value, best_value):
            best, best_value = epoch, results[0].value
    return best, best_value


def is_better(value: float, best: float) -> bool:
    """Say whether a value is higher by more than rounding.

    Two epochs may answer other questions and have the same F1, of which the sums of floats differ in the last digit.
    """
    return value > best and not math.isclose(value, best, rel_tol=SAME_VALUE, abs_tol=SAME_VALUE)
