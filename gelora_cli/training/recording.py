"""Callbacks that report a training: lines of metrics to trackers and the log, and the progress bar."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gelora_cli.core.artifacts.result import EvalResult
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.progress import log_through_progress, progress
from gelora_cli.training.callback import Callback, LossReading

if TYPE_CHECKING:
    from gelora_cli.trackers.base import TakesLines
    from gelora_cli.training.loop import Trainer


class MetricsLog(Callback):
    """Writes a line to every tracker for each reading of the loss and each evaluated split, in the main process."""

    def __init__(self, trackers: Sequence[TakesLines]) -> None:
        self.trackers = trackers

    def on_loss(self, trainer: Trainer, reading: LossReading) -> None:
        """Record the loss, and the current ranks if the method changes them while it trains."""
        if not trainer.accelerator.is_main_process:
            return  # counting ranks waits for the device
        values: dict[str, Any] = {
            "step": trainer.state.step,
            "epoch": trainer.state.epoch,
            "loss": reading.loss,
            "learning_rate": reading.learning_rate,
            "seconds": round(reading.seconds, 3),
            "examples_per_second": round(reading.examples_per_second, 1),
        }
        if trainer.adapted.current_ranks is not None:
            ranks, params = trainer.adapted.current_ranks()
            values |= {"ranks": list(ranks.values()), "adapter_params": params}
        _record(trainer, self.trackers, values)

    def on_evaluation(self, trainer: Trainer, results: tuple[EvalResult, ...]) -> None:
        """Record each split."""
        state = trainer.state
        for result in results:
            step = f"epoch {state.epoch}, step {state.step}"
            LOGGER.info("%s: loss %.4f  %s  %s", step, state.losses[-1], result.split, result.in_words())
            _record(trainer, self.trackers, _evaluation_line(trainer, result))


class FirstEvaluation(Callback):
    """Evaluates the model before its first step, and gives every tracker a line for each split.

    Args:
        evaluate: as for the trainer; it is called for epoch 0.
        trackers: what the lines are given to, in the main process.
    """

    def __init__(self, evaluate: Callable[[int], tuple[EvalResult, ...]], trackers: Sequence[TakesLines]) -> None:
        self.evaluate, self.trackers = evaluate, trackers

    def on_start(self, trainer: Trainer) -> None:
        """Evaluate; a resumed training has the results already, or began without them."""
        state = trainer.state
        if state.step > 0:
            return
        with state.exclude_from_training_time():
            state.before = self.evaluate(0)
        for result in state.before:
            LOGGER.info("before training: %s  %s", result.split, result.in_words())
            _record(trainer, self.trackers, _evaluation_line(trainer, result))


def _evaluation_line(trainer: Trainer, result: EvalResult) -> dict[str, Any]:
    """Return the line of `metrics.jsonl` of an evaluated split."""
    state = trainer.state
    return {
        "step": state.step,
        "epoch": state.epoch,
        "split": result.split,
        **result.metrics,
        "examples": result.examples,
        "seconds": round(time.perf_counter() - state.started, 3),
        "examples_per_second": round(result.examples / max(result.seconds, 1e-9), 1),
    }


def _record(trainer: Trainer, trackers: Sequence[TakesLines], values: Mapping[str, Any]) -> None:
    """Give a line to every tracker, in the main process."""
    if trainer.accelerator.is_main_process:
        for tracker in trackers:
            tracker.log(values)


class ProgressBar(Callback):
    """Shows how many examples were trained on, their rate, the last loss and the last value; log lines go above it."""

    def __init__(self) -> None:
        self.resources = contextlib.ExitStack()  # the bar is opened in one hook and closed in another
        self.bar: Any = None
        self.displayed_examples = 0

    def on_start(self, trainer: Trainer) -> None:
        """Open the bar, at the examples of the checkpoint if the training is resumed."""
        settings = trainer.settings
        # The last batch of an epoch may be smaller, so either count can be the smaller one.
        planned = min(settings.epochs * len(trainer.split), trainer.total_steps * settings.batch_size)
        self.resources.enter_context(log_through_progress())
        label = "train" if settings.patience is None else "train, at most"
        bar = progress(planned, "ex", label, enabled=trainer.accelerator.is_main_process)
        self.bar = self.resources.enter_context(bar)
        self.on_step(trainer)

    def on_loss(self, trainer: Trainer, reading: LossReading) -> None:
        """Show the loss and the value of the last evaluation beside the bar."""
        self._show_values(trainer)

    def on_evaluation(self, trainer: Trainer, results: tuple[EvalResult, ...]) -> None:
        """Show the new value; the next line may come before the loss is read again."""
        self._show_values(trainer)

    def _show_values(self, trainer: Trainer) -> None:
        state = trainer.state
        values = {"loss": f"{state.losses[-1]:.4f}"}
        if state.evaluations:
            result = state.evaluations[-1][0]
            values[result.reported] = f"{result.value:.4f}"
        self.bar.set_postfix(refresh=False, **values)

    def on_step(self, trainer: Trainer) -> None:
        """Move the bar."""
        self.bar.update(trainer.state.examples - self.displayed_examples)
        self.displayed_examples = trainer.state.examples

    def close(self) -> None:
        """Close the bar."""
        self.resources.close()
