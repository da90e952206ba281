"""The callback that measures a model's geometry while it trains, without changing any number of the training."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from gelora_cli.core.artifacts.result import EvalResult
from gelora_cli.training.callback import Callback

if TYPE_CHECKING:
    from gelora_cli.trackers.base import TakesLines
    from gelora_cli.training.loop import Trainer


class GeometryTrajectory(Callback):
    """Records what a probe measures before the first step and after every evaluation, in the main process.

    Args:
        measure: returns the values of the model as it is (`geometry.probe.GeometryProbe.measure`).
        trackers: what the values are given to, under the key `track`.
        interruptible: a context in which a request to stop takes effect at once.
    """

    def __init__(
        self,
        measure: Callable[[], dict[str, Any]],
        trackers: Sequence[TakesLines],
        interruptible: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.measure, self.trackers, self.interruptible = measure, trackers, interruptible

    def on_start(self, trainer: Trainer) -> None:
        """Measure the model before its first step; a resumed training has that line already."""
        if trainer.state.step == 0:
            self._observe(trainer)

    def on_evaluation(self, trainer: Trainer, results: tuple[EvalResult, ...]) -> None:
        """Measure the model of this epoch."""
        self._observe(trainer)

    def _observe(self, trainer: Trainer) -> None:
        state = trainer.state
        with state.exclude_from_training_time():
            if trainer.accelerator.is_main_process:
                start = time.perf_counter()
                with self.interruptible():
                    values = self.measure()
                seconds = round(time.perf_counter() - start, 3)
                for tracker in self.trackers:
                    tracker.log({"step": state.step, "epoch": state.epoch, "track": values, "seconds": seconds})
            # The other processes wait here, so that none of them counts these seconds as training.
            trainer.accelerator.wait_for_everyone()
