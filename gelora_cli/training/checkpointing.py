"""The callback that writes checkpoints where they are due, and stops a training that was asked to stop."""

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
    """Writes a checkpoint where one is due, around every evaluation and before stopping.

    It comes last of the callbacks: a checkpoint holds what the others did at the same moment.

    Args:
        store: where checkpoints go; none are written with a store that is not used.
        stop: asked after each optimizer step and around evaluations.
    """

    def __init__(self, store: CheckpointStore, stop: Callable[[], bool]) -> None:
        self.store, self.stop = store, stop

    def on_step(self, trainer: Trainer) -> None:
        """Save where a checkpoint is due by its step or the clock."""
        self._save_if_due(trainer, at_evaluation=False)

    def before_evaluation(self, trainer: Trainer) -> None:
        """Save what an evaluation that fails must not lose."""
        self._save_if_due(trainer, at_evaluation=True)

    def on_evaluation(self, trainer: Trainer, results: tuple[EvalResult, ...]) -> None:
        """Save the evaluation."""
        self._save_if_due(trainer, at_evaluation=True)

    def _save_if_due(self, trainer: Trainer, *, at_evaluation: bool) -> None:
        """Write a checkpoint where one is due.

        Raises:
            StoppedError: it was asked to stop.
        """
        store, step = self.store, trainer.state.step
        by_clock, stopping = self._agree(trainer, at_evaluation)
        if store.used and (at_evaluation or stopping or by_clock or store.due_by_step(step)):
            checkpoint = trainer.state.state_dict()
            if checkpoint is not None:
                store.save(checkpoint.state, checkpoint.tensors)
        if stopping:
            saved = "saved in a checkpoint" if store.used else "without a checkpoint, so it will start from scratch"
            raise StoppedError(
                f"interrupted at step {step} of {trainer.total_steps}, {saved}. Give the same command again to go on."
            )

    def _agree(self, trainer: Trainer, at_evaluation: bool) -> tuple[bool, bool]:
        """Return whether any process finds a checkpoint due by its clock, and whether any was asked to stop.

        Several GPUs are asked only where they wait for each other anyway, at a line of metrics or an evaluation.
        """
        accelerator = trainer.accelerator
        due = self.store.used and self.store.due_by_clock() and accelerator.is_main_process
        local = due, self.stop()
        if accelerator.num_processes == 1:
            return local
        at_line = trainer.state.step % trainer.settings.log_steps == 0
        if not (accelerator.device.type == "cpu" or at_evaluation or at_line):
            return False, False
        # A checkpoint and a stop need every process at the same step, so one that asks is enough for all.
        flags = torch.tensor([float(flag) for flag in local], device=accelerator.device)  # (2,)
        first, second = accelerator.reduce(flags, "sum").tolist()
        return first > 0, second > 0
