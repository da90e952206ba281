"""The hooks of the training loop: small objects that record, save, observe or stop a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gelora_cli.core.artifacts.result import EvalResult

if TYPE_CHECKING:
    from gelora_cli.training.loop import Trainer


@dataclass(frozen=True)
class LossReading:
    """What one reading of the loss gives.

    Attributes:
        loss: the mean loss over the examples since the previous reading, finite.
        learning_rate: that of the last step.
        seconds: time since the training began, over all attempts.
        examples_per_second: the rate since the previous reading, over all processes.
    """

    loss: float
    learning_rate: float
    seconds: float
    examples_per_second: float


class Callback:
    """Hooks that do nothing. A callback overrides those that it needs.

    Every process calls every hook, in the order of the callbacks, so that a hook may exchange values with the other
    processes. A hook that does so must do it in every process, or the training hangs.
    """

    def on_start(self, trainer: Trainer) -> None:
        """Act before the first step, after the state of a previous attempt was loaded."""

    def on_loss(self, trainer: Trainer, reading: LossReading) -> None:
        """Act on a finite mean loss, every `log_steps` steps and before an evaluation."""

    def on_step(self, trainer: Trainer) -> None:
        """Act after an optimizer step, and after the reading of its loss if one was due."""

    def before_evaluation(self, trainer: Trainer) -> None:
        """Act after the last step of an epoch."""

    def on_evaluation(self, trainer: Trainer, results: tuple[EvalResult, ...]) -> None:
        """Act after the evaluation of an epoch; the first result is that of the split that selects the epoch."""

    def on_end(self, trainer: Trainer) -> None:
        """Act after the last epoch; not called if the training fails or is stopped."""

    def close(self) -> None:
        """Release resources, however the training ended."""
