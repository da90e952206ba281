"""The state of a training: everything that changes while it runs, and what a checkpoint holds of it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from gelora_cli.core.artifacts.result import EvalResult
from gelora_cli.core.devices import train_machine
from gelora_cli.core.distributed import gather_rows
from gelora_cli.core.processes import thread_settings
from gelora_cli.methods.base import AdaptedModel, strip_prefix
from gelora_cli.training.checkpoint import Checkpoint, TrainState
from gelora_cli.training.optimization import make_optimizer
from gelora_cli.training.settings import TrainSettings

if TYPE_CHECKING:
    from accelerate import Accelerator

ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")
"""What torch's Adam keeps of each parameter: its steps, and the running means of its gradient and squared gradient."""


@dataclass(frozen=True)
class Best:
    """The epoch to keep so far, its value, and a copy of its weights if later epochs may be worse."""

    value: float
    epoch: int
    weights: dict[str, torch.Tensor]


class TrainingState:
    """The one owner of what changes in a training: parameters, optimizer, schedule, counts, losses, random states.

    `load_state_dict` of what `state_dict` returned restores it bitwise.

    Attributes:
        epoch: the current epoch, from 1.
        step: optimizer steps taken.
        examples: examples trained on, over all processes.
        before: the results before the first step; empty for a training that begins without an evaluation.
        evaluations: the results of each evaluated epoch.
        best: the epoch to keep so far.
        settled_epoch: the first epoch that keeps the budget; 0 if there is none yet.
        loss_sum: this process's sum of losses since the last reading, () on the device, so that adding never waits.
        loss_examples: the examples of all processes since the last reading.
        loss_divisor: what the sum of their losses is divided by (`EncodedSplit.loss_divisor`).
        examples_at_last_reading: `examples` at the time `last_reading`, for the rate of this process's own steps.
        losses: the mean losses of all readings.
        evaluation_seconds: time spent on evaluating and observing.
        is_finite: whether the losses of all processes were finite at the last `state_dict`, which every process knows.
    """

    def __init__(
        self, adapted: AdaptedModel, settings: TrainSettings, total_steps: int, accelerator: Accelerator
    ) -> None:
        self.adapted, self.accelerator = adapted, accelerator
        self.optimizer, self.schedule = make_optimizer(adapted.model, settings, total_steps)
        self.epoch = 0
        self.step = 0
        self.examples = 0
        self.before: tuple[EvalResult, ...] = ()
        self.evaluations: list[tuple[EvalResult, ...]] = []
        self.best = Best(-math.inf, 0, {})
        self.settled_epoch = 0
        self.loss_sum = torch.zeros((), device=accelerator.device)
        self.loss_examples = 0
        self.loss_divisor = 0
        self.losses: list[float] = []
        self.evaluation_seconds = 0.0
        self.is_finite = True
        # Both are moved so that differences to now are right: `started` counts the seconds of previous attempts as
        # well, `last_reading` leaves out evaluations.
        self.started = self.last_reading = time.perf_counter()
        self.examples_at_last_reading = 0

    @contextlib.contextmanager
    def exclude_from_training_time(self) -> Iterator[None]:
        """Count the seconds of the block as evaluation, not as training."""
        start = time.perf_counter()
        yield
        elapsed = time.perf_counter() - start
        self.evaluation_seconds += elapsed
        self.last_reading += elapsed

    def last_learning_rate(self) -> float:
        """Return the learning rate of the step just taken; the optimizer's own is already that of the next step."""
        # Both groups of parameters have the same learning rate.
        return float(self.schedule.base_lrs[0] * self.schedule.lr_lambdas[0](self.step - 1))

    def forget_moments(self, parameters: Iterable[nn.Parameter]) -> None:
        """Let the optimizer treat these parameters as new ones from the next step on: no moments, no steps taken."""
        for parameter in parameters:
            self.optimizer.state.pop(parameter, None)

    def copy_weights(self) -> dict[str, torch.Tensor]:
        """Return a copy of the trainable parameters, on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.adapted.trainable().items()}

    def state_dict(self) -> Checkpoint | None:
        """Return the state on the CPU in the main process, and None in the others.

        Every process must call it, because the main process collects the random state and the losses of each. None also
        if the loss is not finite: the next reading ends the training then, and the previous checkpoint stays.
        """
        process_states = self._process_states()
        self.is_finite = bool(torch.isfinite(process_states["share/loss_sum"]).all())
        if not self.accelerator.is_main_process or not self.is_finite:
            return None
        state = TrainState(
            step=self.step,
            examples=self.examples,
            loss_examples=self.loss_examples,
            loss_divisor=self.loss_divisor,
            before=self.before,
            losses=tuple(self.losses[:1] + self.losses[1:][-1:]),  # the result names the first and the last
            evaluations=tuple(self.evaluations),
            best_epoch=self.best.epoch,
            settled_epoch=self.settled_epoch,
            best_value=self.best.value if math.isfinite(self.best.value) else None,
            seconds=time.perf_counter() - self.started,
            evaluation_seconds=self.evaluation_seconds,
            processes=self.accelerator.num_processes,
            machine=train_machine(),
            threads=torch.get_num_threads(),
            thread_settings=thread_settings(),
        )
        return Checkpoint(state, self._tensors() | process_states)

    def load_state_dict(self, checkpoint: Checkpoint) -> None:
        """Load the state of a previous attempt, bitwise."""
        state, tensors = checkpoint
        self.step, self.examples, self.loss_examples = state.step, state.examples, state.loss_examples
        self.loss_divisor = state.loss_examples if state.loss_divisor is None else state.loss_divisor
        self.losses, self.evaluations = list(state.losses), list(state.evaluations)
        self.before = state.before
        self.evaluation_seconds, self.settled_epoch = state.evaluation_seconds, state.settled_epoch
        now = time.perf_counter()
        self.started, self.last_reading = now - state.seconds, now
        self.examples_at_last_reading = self.examples  # those of the previous attempt took other seconds
        self._load_parameters(tensors)
        if self.adapted.load_state is not None:
            self.adapted.load_state(strip_prefix("method/", tensors))
        self._move_schedule()
        self._load_process_state(tensors)  # after everything that may draw a random number, as a method's state may
        value = -math.inf if state.best_value is None else state.best_value
        self.best = Best(value, state.best_epoch, strip_prefix("best/", tensors))

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Return the trainable parameters, their optimizer state, the best weights so far, and the method's own state.

        The prefixes of the names are part of the format of checkpoints.
        """
        tensors = {f"best/{name}": tensor for name, tensor in self.best.weights.items()}
        for name, parameter in self.adapted.trainable().items():
            tensors[f"parameter/{name}"] = parameter
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"{key}/{name}"] = value
        if self.adapted.state is not None:
            for name, tensor in self.adapted.state().items():
                tensors[f"method/{name}"] = tensor
        return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}

    def _process_states(self) -> dict[str, torch.Tensor]:
        """Return what differs between processes, in order of rank: random states, the losses since the last reading.

        `share/random` is (processes, bytes), `share/loss_sum` is (processes,).
        """
        device = self.accelerator.device
        random = torch.get_rng_state()
        if device.type == "cuda":
            random = torch.cat([random, torch.cuda.get_rng_state(device)])
        local = {"random": random[None].to(device), "loss_sum": self.loss_sum[None]}  # (1, bytes), (1,)
        return {f"share/{name}": gather_rows(self.accelerator, tensor).cpu() for name, tensor in local.items()}

    def _load_parameters(self, tensors: dict[str, torch.Tensor]) -> None:
        """Load the trainable parameters and their optimizer state."""
        # Where torch keeps Adam's count of steps: a fused step reads it on the device.
        on_cpu = () if self.optimizer.defaults["fused"] else ("step",)
        with torch.no_grad():
            for name, parameter in self.adapted.trainable().items():
                parameter.copy_(tensors[f"parameter/{name}"])
                state = {key: tensors[f"{key}/{name}"] for key in ADAM_STATE if f"{key}/{name}" in tensors}
                self.optimizer.state[parameter] = {
                    key: value if key in on_cpu else value.to(parameter.device) for key, value in state.items()
                }

    def _move_schedule(self) -> None:
        """Set the learning rates of the step that comes next."""
        # Stepping the schedule `step` times would give the same rates; this takes no time after a long training.
        self.schedule.last_epoch = self.step
        for group, base, factor in zip(
            self.optimizer.param_groups, self.schedule.base_lrs, self.schedule.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor(self.step)

    def _load_process_state(self, tensors: dict[str, torch.Tensor]) -> None:
        """Load this process's losses and random states: of the CPU, and behind it that of the GPU if there is one."""
        rank, cpu = self.accelerator.process_index, len(torch.get_rng_state())
        self.loss_sum = tensors["share/loss_sum"][rank].to(self.accelerator.device)
        random = tensors["share/random"][rank].clone()  # torch reads the storage of a view from its beginning
        torch.set_rng_state(random[:cpu])
        if len(random) > cpu:
            torch.cuda.set_rng_state(random[cpu:].clone(), self.accelerator.device)
