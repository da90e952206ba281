"""Stage 3: one fine-tuning loop for every method."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from gelora_cli.core.artifacts.result import EvalResult, TrainResult
from gelora_cli.core.devices import seed_process
from gelora_cli.core.errors import GeloraError, RunError
from gelora_cli.core.logs import LOGGER
from gelora_cli.data.batches import epoch_batches, micro_batches
from gelora_cli.data.collate import Batch, collate
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.data.packing import collate_packed
from gelora_cli.methods.base import AdaptedModel
from gelora_cli.training.callback import Callback, LossReading
from gelora_cli.training.checkpoint import Checkpoint
from gelora_cli.training.graphs import GraphedPasses, can_capture
from gelora_cli.training.selection import is_out_of_patience
from gelora_cli.training.settings import TrainSettings
from gelora_cli.training.state import TrainingState

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator


class Trainer:
    """Trains the parameters that a method added or released, and evaluates after each epoch.

    AdamW without weight decay on biases and norms, a linear schedule with warm-up, and clipping by the global norm are
    those of transformers' Trainer. The loss of a step with the global batch R is

        1 / divisor(R) * sum over rows r in R of loss(r)  +  extra loss of the method,

    where divisor(R) is the number of rows, or of the tokens that they learn (`EncodedSplit.loss_divisor`). It is the
    same whatever the number of processes, of micro-batches, or of examples left in the last batch.

    Args:
        adapted: the model and the method's hooks.
        split: the training rows.
        settings: everything else that the numbers depend on.
        pad_token_id: what shorter rows of a batch are filled with.
        accelerator: this process among the others.
        evaluate: `evaluate(epoch)` returns the results of all evaluated splits, of the selecting one first.
        callbacks: what records, saves, observes or stops the training, in the order in which they are called.
        arithmetic: returns a context in which the model computes as it is to be trained (its frozen weights cast once).
    """

    def __init__(
        self,
        adapted: AdaptedModel,
        split: EncodedSplit,
        settings: TrainSettings,
        *,
        pad_token_id: int,
        accelerator: Accelerator,
        evaluate: Callable[[int], tuple[EvalResult, ...]],
        callbacks: Sequence[Callback],
        arithmetic: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self.adapted, self.split, self.settings, self.accelerator = adapted, split, settings, accelerator
        self.pad_token_id, self.evaluate, self.callbacks = pad_token_id, evaluate, callbacks
        self.arithmetic = arithmetic
        self.total_steps = settings.total_steps(len(split))
        self.steps_per_epoch = settings.steps_per_epoch(len(split))
        self.planned_epochs = math.ceil(self.total_steps / self.steps_per_epoch)
        self.model = accelerator.prepare_model(adapted.model)
        self.parameters = list(adapted.trainable().values())
        self.state = TrainingState(adapted, settings, self.total_steps, accelerator)
        self.graphs = GraphedPasses(self) if settings.fast and can_capture(self) else None

    def fit(self, resume_from: Checkpoint | None = None) -> TrainResult:
        """Train for all epochs, or for `max_steps` steps, or until `patience` epochs in a row were not better.

        The schedule of the learning rate is that of all planned steps, wherever the training ends.

        A training that resumes from a checkpoint ends with the same weights and lines, bitwise, as one that never
        stopped.

        Raises:
            RunError: the loss is not finite; the message has step, learning rate and the last finite loss.
            StoppedError: the training was asked to stop.
        """
        state = self.state
        # Each process draws its own dropout. Loading a checkpoint sets the random states, so the seed comes first.
        seed_process(self.settings.seed, self.accelerator.process_index)
        if resume_from is not None:
            state.load_state_dict(resume_from)
            LOGGER.info("resumed from the checkpoint at step %d of %d", state.step, self.total_steps)
        try:
            for callback in self.callbacks:
                callback.on_start(self)
            # An epoch counts as done once it is evaluated: a training that stopped before that resumes in this epoch.
            while not self.is_finished():
                state.epoch = len(state.evaluations) + 1
                self.train_epoch()
                self.evaluate_epoch()
            for callback in self.callbacks:
                callback.on_end(self)
        finally:
            for callback in self.callbacks:
                callback.close()
        return self.result()

    def is_finished(self) -> bool:
        """Return whether all planned epochs are evaluated, or `patience` of them were not better than the best one."""
        evaluated, best = len(self.state.evaluations), self.state.best.epoch
        return evaluated >= self.planned_epochs or is_out_of_patience(evaluated, best, self.settings.patience)

    def train_epoch(self) -> None:
        """Take the steps of the epoch that a previous attempt has not taken."""
        state, settings = self.state, self.settings
        batches = epoch_batches(self.split.lengths, settings.batch_size, settings.seed, state.epoch)
        # The batches depend on the seed and the epoch alone, so a resumed training skips those that it has taken.
        steps_done = state.step - (state.epoch - 1) * self.steps_per_epoch
        with self.ready_to_step():
            for rows in batches[steps_done : steps_done + self.total_steps - state.step]:
                self.train_step(rows)
                # Before `on_step`, so that a checkpoint of this step holds the reading.
                if state.step % settings.log_steps == 0 or state.step == self.total_steps:
                    self.read_loss()
                for callback in self.callbacks:
                    callback.on_step(self)
        if state.loss_examples:  # steps since the last reading, so that no loss is carried into the next epoch
            self.read_loss()

    @contextlib.contextmanager
    def ready_to_step(self) -> Iterator[None]:
        """Have the model ready for `train_step` inside, and as it was afterwards."""
        self.model.train()
        with self.arithmetic(), contextlib.nullcontext() if self.graphs is None else self.graphs.ready():
            yield

    def evaluate_epoch(self) -> None:
        """Evaluate the model as it is at the end of an epoch."""
        for callback in self.callbacks:
            callback.before_evaluation(self)
        with self.state.exclude_from_training_time():
            results = self.evaluate(self.state.epoch)
        self.state.evaluations.append(results)
        for callback in self.callbacks:
            callback.on_evaluation(self, results)

    def train_step(self, rows: NDArray[np.int64]) -> None:
        """Take one optimizer step on a global batch, given by its rows (B,)."""
        state = self.state
        if self.graphs is None or not self.graphs.run(rows):
            self._set_gradients(rows)
        state.optimizer.step()
        state.schedule.step()
        state.step += 1
        state.examples += len(rows)
        state.loss_examples += len(rows)
        state.loss_divisor += self.split.loss_divisor(rows)
        if self.adapted.after_step is not None:
            self.adapted.after_step(state.step)  # before the gradients are cleared: a method may rank modules by them
        if self.adapted.restarted is not None:
            state.forget_moments(self.adapted.restarted(state.step))
        state.optimizer.zero_grad(set_to_none=True)

    def _set_gradients(self, rows: NDArray[np.int64]) -> None:
        """Set the clipped gradients of the loss of a global batch (B,)."""
        accelerator, divisor = self.accelerator, self.split.loss_divisor(rows)
        parts = micro_batches(
            rows, accelerator.process_index, accelerator.num_processes, self.settings.micro_batch_size
        )
        for index, (micro_rows, counts) in enumerate(parts):
            is_last = index == len(parts) - 1  # gradients are exchanged once, after the last micro-batch
            with contextlib.nullcontext() if is_last else accelerator.no_sync(self.model):
                self._backward(micro_rows, counts, divisor, is_last)
        # After the last exchange of gradients, so that every process clips by the same norm.
        nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)

    def _backward(self, rows: NDArray[np.int64], counts: bool, divisor: int, is_last: bool) -> None:
        """Add the gradient of a micro-batch to the sums over this step.

        Args:
            rows: the rows of the micro-batch, (B,).
            counts: whether its loss counts (see `micro_batches`).
            divisor: that of the global batch, which every process knows without asking the others.
            is_last: whether it is the last micro-batch of the step.
        """
        put_together = collate_packed if self.settings.packing else collate
        batch = put_together(self.split, rows, self.pad_token_id, self.accelerator.device)
        total = self.row_losses(batch).sum() * float(counts)  # ()
        self.state.loss_sum += total.detach()
        # The mean over the global batch: processes hold unequal numbers of rows, and their gradients are averaged, so
        # each sum is divided by that of all rows and multiplied by the number of processes.
        loss = total * (self.accelerator.num_processes / divisor)
        if is_last and self.adapted.extra_loss is not None:  # once a step, whatever the number of micro-batches
            loss = loss + self.adapted.extra_loss()
        loss.backward()

    def row_losses(self, batch: Batch) -> torch.Tensor:
        """Return the loss of every row of a batch, (B,).

        Raises:
            GeloraError: the task kind gives something else.
        """
        losses = self.settings.loss(self.model, batch)  # (B,)
        # A mean over the batch would have a sum, too, and train on another loss without a word.
        if getattr(losses, "shape", None) != (len(batch),):
            shape = tuple(getattr(losses, "shape", ()))
            raise GeloraError(
                f"the loss of the task kind has the shape {shape}; accepted: a loss for each of the {len(batch)} rows, "
                f"({len(batch)},), as reduction='none' gives them. Correct its method loss."
            )
        return losses

    def read_loss(self) -> None:
        """Read the mean loss since the last reading, and give it to the callbacks; the only wait for the device.

        Raises:
            RunError: the loss is not finite.
        """
        state = self.state
        # Every process reads the same sum, so that all of them refuse a loss that is not finite at the same step.
        loss = float(self.accelerator.reduce(state.loss_sum, "sum")) / state.loss_divisor
        now = time.perf_counter()
        rate = (state.examples - state.examples_at_last_reading) / (now - state.last_reading)
        if not math.isfinite(loss):
            last = f"{state.losses[-1]:.4f}" if state.losses else "none"
            raise RunError(
                f"the loss is {loss} at step {state.step} of {self.total_steps} (epoch {state.epoch}, learning rate "
                f"{state.last_learning_rate():.3g}; last finite loss: {last}). Lower "
                f"train.learning_rate={self.settings.learning_rate:g}, or use precision=float32."
            )
        state.losses.append(loss)
        state.loss_sum = state.loss_sum.new_zeros(())
        state.loss_examples, state.loss_divisor = 0, 0
        state.last_reading, state.examples_at_last_reading = now, state.examples
        reading = LossReading(loss, state.last_learning_rate(), now - state.started, rate)
        for callback in self.callbacks:
            callback.on_loss(self, reading)

    def result(self) -> TrainResult:
        """Return the counts, times and evaluations of the training."""
        state, epochs = self.state, len(self.state.evaluations)
        seconds = time.perf_counter() - state.started
        ranks, adapter_params = self.adapted.ranks()
        return TrainResult(
            steps=state.step,
            epochs=epochs,
            examples=state.examples,
            trainable_params=sum(parameter.numel() for parameter in self.parameters),
            effective_ranks=ranks,
            adapter_params=adapter_params,
            selected_epoch=state.best.epoch,
            settled_epoch=state.settled_epoch or epochs,
            first_loss=state.losses[0],
            last_loss=state.losses[-1],
            seconds=seconds - state.evaluation_seconds,
            evaluation_seconds=state.evaluation_seconds,
            evaluations=tuple(state.evaluations),
            planned_epochs=self.planned_epochs,
            before=state.before,
        )
