"""The callback that writes checkpoints when they are due, and stops a training that was asked to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from gelora_cli.core.artifacts.result import EvalResult
from gelora_cli.core.errors import StoppedError
from gelora_cli.training.callback import Callback
from gelora_cli.training.checkpoint import CheckpointStore

if TYPE_CHECKING:
    from gelora_cli.training.loop import Trainer


class Checkpointing(Callback):
    """Writes a checkpoint when one is due, before and after every evaluation, and before stopping.

    It must be the last callback, so that a checkpoint holds what the others did after the same step.

    Args:
        store: where checkpoints are saved; none are written if it is not enabled.
        stop: returns whether to stop; it is asked after each optimizer step, and before and after evaluations.
    """

    def __init__(self, store: CheckpointStore, stop: Callable[[], bool]) -> None:
        self.store, self.stop = store, stop

    def on_step(self, trainer: Trainer) -> None:
        """Save if a checkpoint is due by its step or by the clock."""
        self._save_if_due(trainer, at_evaluation=False)

    def before_evaluation(self, trainer: Trainer) -> None:
        """Save the steps of the epoch, which would be lost if the evaluation failed."""
        self._save_if_due(trainer, at_evaluation=True)

    def on_evaluation(self, trainer: Trainer, results: tuple[EvalResult, ...]) -> None:
        """Save the evaluation."""
        self._save_if_due(trainer, at_evaluation=True)

    def _save_if_due(self, trainer: Trainer, *, at_evaluation: bool) -> None:
        """Write a checkpoint if one is due.

        Raises:
            StoppedError: the training was asked to stop.
        """
        store, step = self.store, trainer.state.step
        by_clock, stopping = self._agree(trainer, at_evaluation)
        if store.enabled and (at_evaluation or stopping or by_clock or store.due_by_step(step)):
            checkpoint = trainer.state.state_dict()  # every process must call it
            if checkpoint is not None:
                store.save(checkpoint.state, checkpoint.tensors)
        if stopping:
            if not store.enabled:
                saved = "without a checkpoint, so it will start from scratch"
            elif trainer.state.is_finite:
                saved = "saved in a checkpoint"
            else:
                saved = "not saved because the loss is not finite, so it will resume from the checkpoint before, if any"
            raise StoppedError(
                f"interrupted at step {step} of {trainer.total_steps}, {saved}. Give the same command again to resume."
            )

    def _agree(self, trainer: Trainer, at_evaluation: bool) -> tuple[bool, bool]:
        """Return whether any process finds a checkpoint due by its clock, and whether any was asked to stop.

        Several GPUs are asked only when they wait for each other anyway, at a line of metrics or an evaluation.
        """
        accelerator = trainer.accelerator
        due = self.store.enabled and self.store.due_by_clock() and accelerator.is_main_process
        local = due, self.stop()  # only the main process's clock counts, a stop may reach any process
        if accelerator.num_processes == 1:
            return local
        at_line = trainer.state.step % trainer.settings.log_steps == 0
        if not (accelerator.device.type == "cpu" or at_evaluation or at_line):
            return False, False
        # A checkpoint and a stop need every process at the same step, so one that asks is enough for all.
        flags = torch.tensor([float(flag) for flag in local], device=accelerator.device)  # (2,)
        first, second = accelerator.reduce(flags, "sum").tolist()
        return first > 0, second > 0
