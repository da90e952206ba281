"""Select the epoch whose weights a training keeps."""

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
"""Values of a metric that differ by less, absolutely or relatively, differ by rounding only."""


class BestEpoch(Callback):
    """Keeps the last epoch with protocol `last`, else the best one of those that keep the budget.

    Args:
        select: called after the evaluation of each epoch that is the one to keep so far.
    """

    def __init__(self, select: Callable[[], None]) -> None:
        self.select = select

    def on_evaluation(self, trainer: Trainer, results: tuple[EvalResult, ...]) -> None:
        """Keep the epoch if it is the best so far."""
        state, value = trainer.state, results[0].value
        budget_reached = trainer.adapted.budget_reached()
        if budget_reached and not state.settled_epoch:
            state.settled_epoch = state.epoch
        # Every process has the same results, so all of them keep the same epoch.
        if trainer.settings.protocol == "last":
            state.best = Best(value, state.epoch, {})  # no copy: the weights after the last step are the ones to keep
        elif is_better(value, state.best.value) and budget_reached:
            state.best = Best(value, state.epoch, state.copy_weights())
        if state.best.epoch == state.epoch:
            self.select()

    def on_end(self, trainer: Trainer) -> None:
        """Load the best epoch's weights into the model; protocol `last` has no copy of any."""
        parameters = trainer.adapted.trainable()
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


def is_out_of_patience(evaluated: int, best: int, patience: int | None) -> bool:
    """Return whether `patience` epochs in a row were not better than the best one.

    It follows from the evaluations alone. So all processes, and a training that was resumed, stop after the same epoch.

    Args:
        evaluated: the number of epochs that were evaluated.
        best: the best of them so far, from 1; 0 as long as none may be selected, such as those above the budget.
        patience: None for a training that never stops early.
    """
    return patience is not None and best > 0 and evaluated - best >= patience


def is_better(value: float, best: float) -> bool:
    """Return whether a value is higher by more than rounding.

    Two epochs may have the same F1 from different answers. Their sums of floats can then differ in the last digit.
    """
    return value > best and not math.isclose(value, best, rel_tol=SAME_VALUE, abs_tol=SAME_VALUE)
