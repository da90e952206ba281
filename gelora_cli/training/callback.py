"""The hooks of the loop: small objects that record, keep, observe or stop a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gelora_cli.core.artifacts.result import EvalResult

if TYPE_CHECKING:
    from gelora_cli.training.loop import Trainer


@dataclass(frozen=True)
class LossReading:
    """The mean loss over the examples since the reading before, with the learning rate of the last step."""

    loss: float
    learning_rate: float
    seconds: float
    examples_per_second: float


class Callback:
    """Hooks that do nothing; a callback overrides those that it needs.

    Every process calls every hook, in the order of the callbacks, so that hooks may talk to the other processes.
    """

    def on_start(self, trainer: Trainer) -> None:
        """Follow the start, after the state of an earlier attempt was put back."""

    def on_loss(self, trainer: Trainer, reading: LossReading) -> None:
        """Take a finite mean loss, every `log_steps` steps and before an evaluation."""

    def on_step(self, trainer: Trainer) -> None:
        """Follow an optimizer step, and the reading of its loss where one is due."""

    def before_evaluation(self, trainer: Trainer) -> None:
        """Follow the last step of an epoch."""

    def on_evaluation(self, trainer: Trainer, results: tuple[EvalResult, ...]) -> None:
        """Follow the evaluation of an epoch; the deciding split is the first."""

    def on_end(self, trainer: Trainer) -> None:
        """Follow the last epoch; not called where the training fails or is stopped."""

    def close(self) -> None:
        """Let go of what is held, after a training that ended in any way."""
