"""Stage 3: one fine-tuning loop for every method."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gelora_cli.core.artifacts import EvalResult, TrainResult
from gelora_cli.core.errors import RunError, StoppedError
from gelora_cli.core.runtime import (
    LOGGER,
    gather_rows,
    log_through_progress,
    progress,
    seed_process,
    thread_settings,
    train_machine,
)
from gelora_cli.data.collate import Batch, collate
from gelora_cli.data.splits import EncodedSplit, epoch_batches
from gelora_cli.methods.base import Attached, below, trainable
from gelora_cli.training.checkpoint import Checkpoints, TrainState

if TYPE_CHECKING:
    from accelerate import Accelerator

NEVER_DECAYED = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]
"""Names of parameters that transformers' Trainer leaves out of weight decay, in lower case."""
SAME_VALUE = 1e-12
"""Values of a metric that differ by less, of 1 or relatively, are the same but for the rounding of their sums."""
ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")
Losses = Callable[[Any, Batch, torch.Tensor], torch.Tensor]


def _class_loss(output: Any, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy of logits (B, C) and classes (B,)."""
    return nn.functional.cross_entropy(output.logits.float(), labels, reduction="none")


def _score_loss(output: Any, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
    """Squared error of logits (B, 1) and scores (B,)."""
    return nn.functional.mse_loss(output.logits.float().squeeze(-1), labels, reduction="none")


def _span_loss(output: Any, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy of start and end logits (B, T) and tokens (B, 2), over the window without its padding."""
    padding = batch.inputs["attention_mask"] == 0
    ends = (output.start_logits, labels[:, 0]), (output.end_logits, labels[:, 1])
    start, end = (
        nn.functional.cross_entropy(logits.float().masked_fill(padding, -math.inf), place, reduction="none")
        for logits, place in ends
    )
    return (start + end) / 2


# what the model gave for a batch, and the batch with its labels, to one loss per row (B,)
LOSSES: dict[str, Losses] = {
    "classification": _class_loss,
    "regression": _score_loss,
    "question_answering": _span_loss,
}


@dataclass(frozen=True)
class TrainSettings:
    """Everything that fine-tuning depends on, beside model and data; batch sizes in examples, lengths in steps."""

    learning_rate: float
    epochs: int
    max_steps: int | None
    batch_size: int
    micro_batch_size: int | None
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    log_steps: int
    seed: int
    protocol: str
    loss: str

    def total_steps(self, examples: int) -> int:
        """Optimizer steps of the whole training; the last batch of an epoch may be smaller."""
        steps = self.epochs * math.ceil(examples / self.batch_size)
        return steps if self.max_steps is None else min(steps, self.max_steps)


def fine_tune(
    attached: Attached,
    split: EncodedSplit,
    settings: TrainSettings,
    *,
    pad_token_id: int,
    accelerator: Accelerator,
    evaluate: Callable[[int], tuple[EvalResult, ...]],
    select: Callable[[], None],
    record: Callable[[dict[str, Any]], None],
    checkpoints: Checkpoints | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Train what the method attached, evaluating after each epoch and at the end.

    AdamW, whose weight decay leaves out biases and norms, a linear schedule with warm-up in optimizer steps (rounded
    up), clipping by the global norm; all as transformers' Trainer has them. The loss of a step is the
    mean over the examples of its global batch, whatever the number of processes, of micro-batches, or of examples
    left in the last batch. `evaluate(epoch)` gives the results of all evaluated splits, the deciding one first;
    `select()` follows where they are the ones to keep so far; `record` stores a line of metrics (main process). With
    a protocol that selects, the best epoch's weights are put back; where ranks move, the best of those that keep the
    budget.

    With `checkpoints` it goes on from the newest whole one and ends with the numbers of a training that never stopped:
    same weights, same lines. `stop()`, asked after each optimizer step, ends it with a last checkpoint.

    Raises:
        RunError: the loss is not finite; with step, learning rate and the last finite loss.
        StoppedError: it was asked to stop.
    """
    loop = _Loop(
        attached,
        split,
        settings,
        pad_token_id,
        accelerator,
        evaluate,
        select,
        record,
        checkpoints=checkpoints,
        stop=stop,
    )
    return loop.run()


def time_steps(
    attached: Attached,
    split: EncodedSplit,
    settings: TrainSettings,
    *,
    pad_token_id: int,
    accelerator: Accelerator,
    steps: int,
) -> list[tuple[int, float]]:
    """Padded tokens and seconds of the first optimizer steps of a training, which change what is attached."""
    nothing: Any = lambda *_: ()  # noqa: E731 - nothing is evaluated or recorded
    loop = _Loop(
        attached,
        split,
        settings,
        pad_token_id,
        accelerator,
        *(nothing, nothing, nothing),
        checkpoints=None,
        stop=lambda: False,
    )
    loop.model.train()
    times = []
    for rows in epoch_batches(split.lengths, settings.batch_size, settings.seed, 1)[:steps]:
        start = time.perf_counter()
        loop._step(rows)
        float(loop.loss_sum)  # waits for the device
        times.append((padded_tokens(split, [rows]), time.perf_counter() - start))
    return times


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's groups of what trains in `model`: with weight decay, and biases and norms without it.

    Which parameters are decayed is transformers' own choice (`Trainer.get_decay_parameter_names`).
    """
    from transformers.trainer_pt_utils import get_parameter_names

    decayed = set(get_parameter_names(model, [nn.LayerNorm], NEVER_DECAYED))  # type: ignore[no-untyped-call]
    with_decay = [parameter for name, parameter in trainable(model).items() if name in decayed]
    without_decay = [parameter for name, parameter in trainable(model).items() if name not in decayed]
    return [
        {"params": with_decay, "weight_decay": weight_decay},
        {"params": without_decay, "weight_decay": 0.0},
    ]


def padded_tokens(split: EncodedSplit, batches: Sequence[NDArray[np.int64]]) -> int:
    """Tokens of these batches, each row padded to the longest of its batch."""
    return sum(int(split.lengths[rows].max()) * len(rows) for rows in batches)


class _Loop:
    """The state of one training: what `fine_tune` was given, the optimizer, and where it stands."""

    def __init__(
        self,
        attached: Attached,
        split: EncodedSplit,
        settings: TrainSettings,
        pad_token_id: int,
        accelerator: Accelerator,
        evaluate: Callable[[int], tuple[EvalResult, ...]],
        select: Callable[[], None],
        record: Callable[[dict[str, Any]], None],
        *,
        checkpoints: Checkpoints | None,
        stop: Callable[[], bool],
    ) -> None:
        from transformers import get_linear_schedule_with_warmup

        self.attached, self.split, self.settings, self.accelerator = attached, split, settings, accelerator
        self.pad_token_id, self.evaluate, self.select, self.record = pad_token_id, evaluate, select, record
        self.checkpoints, self.stop = checkpoints, stop
        self.total = settings.total_steps(len(split))
        self.steps_per_epoch = math.ceil(len(split) / settings.batch_size)
        self.model = accelerator.prepare_model(attached.model)
        self.parameters = list(attached.trainable().values())
        self.optimizer = torch.optim.AdamW(
            parameter_groups(attached.model, settings.weight_decay), lr=settings.learning_rate
        )
        warmup = math.ceil(settings.warmup_ratio * self.total)
        self.schedule = get_linear_schedule_with_warmup(self.optimizer, warmup, self.total)  # type: ignore[no-untyped-call]
        self.step = 0
        self.examples = 0
        self.evaluations: list[tuple[EvalResult, ...]] = []
        self.best: tuple[float, int, dict[str, torch.Tensor]] = (-math.inf, 0, {})
        self.settled_epoch = 0
        self.loss_sum = torch.zeros((), device=accelerator.device)
        self.loss_examples = 0
        self.losses: list[float] = []
        self.evaluation_seconds = 0.0
        self.started = self.logged = time.perf_counter()

    def run(self) -> TrainResult:
        """All epochs, or as many steps as were asked for."""
        seed_process(self.settings.seed, self.accelerator.process_index)
        self._resume()
        epochs = math.ceil(self.total / self.steps_per_epoch)
        with log_through_progress(), self._bar() as bar:
            if self.step == 0:
                self._observe(0)
            for epoch in range(len(self.evaluations) + 1, epochs + 1):
                self._epoch(epoch, bar)
                self._save_if_due(at_evaluation=True)
                self._evaluate(epoch, bar)
                self._observe(epoch)
                self._save_if_due(at_evaluation=True)
        if self.settings.protocol != "last":
            self._restore_best()
        return self._result(epochs)

    def _bar(self) -> Any:
        examples = self.settings.epochs * len(self.split)
        planned = min(examples, self.total * self.settings.batch_size)
        bar = progress(planned, "ex", "train", shown=self.accelerator.is_main_process)
        bar.update(self.examples)
        return bar

    def _epoch(self, epoch: int, bar: Any) -> None:
        settings = self.settings
        self.model.train()
        batches = epoch_batches(self.split.lengths, settings.batch_size, settings.seed, epoch)
        done = self.step - (epoch - 1) * self.steps_per_epoch
        for rows in batches[done : done + self.total - self.step]:
            self._step(rows)
            bar.update(len(rows))
            if self.step % settings.log_steps == 0 or self.step == self.total:
                self._log(epoch, bar)
            self._save_if_due()

    def _step(self, rows: NDArray[np.int64]) -> None:
        """One optimizer step on a global batch."""
        micro_batches = self._share(rows)
        for index, (micro, counted) in enumerate(micro_batches):
            last = index == len(micro_batches) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                self._backward(micro, counted, len(rows), last)
        nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        self.examples += len(rows)
        self.loss_examples += len(rows)
        if self.attached.after_step is not None:
            self.attached.after_step(self.step)
        self.optimizer.zero_grad(set_to_none=True)

    def _share(self, rows: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], bool]]:
        """This process's micro-batches, as many as every process has; one without rows borrows one, not counted."""
        processes = self.accelerator.num_processes
        mine = rows[self.accelerator.process_index :: processes]
        largest = math.ceil(len(rows) / processes)
        size = self.settings.micro_batch_size or largest
        parts = [mine[start : start + size] for start in range(0, largest, size)]
        return [(part, True) if len(part) else (rows[:1], False) for part in parts]

    def _backward(self, rows: NDArray[np.int64], counted: bool, global_examples: int, last: bool) -> None:
        batch = collate(self.split, rows, self.pad_token_id, self.accelerator.device)
        assert batch.labels is not None
        losses = LOSSES[self.settings.loss](self.model(**batch.inputs), batch, batch.labels)  # (B,)
        total = losses.sum() * float(counted)
        self.loss_sum += total.detach()
        loss = total * (self.accelerator.num_processes / global_examples)
        if last and self.attached.extra_loss is not None:
            loss = loss + self.attached.extra_loss()
        loss.backward()

    def _log(self, epoch: int, bar: Any) -> None:
        """Read the mean loss since the last line (the only wait for the device), refuse one that is not finite."""
        loss = float(self.accelerator.reduce(self.loss_sum, "sum")) / self.loss_examples
        now = time.perf_counter()
        rate = self.loss_examples / (now - self.logged)
        self._check_finite(loss, epoch)
        self.losses.append(loss)
        self.loss_sum = torch.zeros_like(self.loss_sum)
        self.loss_examples, self.logged = 0, now
        bar.set_postfix(loss=f"{loss:.4f}", refresh=False, **self._last_value())
        self.record(
            {
                "step": self.step,
                "epoch": epoch,
                "loss": loss,
                "learning_rate": self._last_learning_rate(),
                "seconds": round(now - self.started, 3),
                "examples_per_second": round(rate, 1),
                **self._moving_ranks(),
            }
        )

    def _last_learning_rate(self) -> float:
        """Return the learning rate of the step just taken; the optimizer's own is already that of the next step."""
        return float(self.schedule.base_lrs[0] * self.schedule.lr_lambdas[0](self.step - 1))

    def _moving_ranks(self) -> dict[str, Any]:
        """Of a method whose ranks move, those of the modules in the order of the plan, and the adapter's parameters."""
        if self.attached.moving_ranks is None:
            return {}
        ranks, params = self.attached.moving_ranks()
        return {"ranks": list(ranks.values()), "adapter_params": params}

    def _last_value(self) -> dict[str, str]:
        if not self.evaluations:
            return {}
        result = self.evaluations[-1][0]
        return {result.reported: f"{result.value:.4f}"}

    def _check_finite(self, loss: float, epoch: int) -> None:
        if math.isfinite(loss):
            return
        last = f"{self.losses[-1]:.4f}" if self.losses else "none"
        rate = self._last_learning_rate()
        raise RunError(
            f"the loss is {loss} at step {self.step} of {self.total} (epoch {epoch}, learning rate {rate:.3g}; "
            f"last finite loss: {last}). Lower train.learning_rate={self.settings.learning_rate:g}, or take "
            "precision=float32."
        )

    def _evaluate(self, epoch: int, bar: Any) -> None:
        if self.loss_examples:
            self._log(epoch, bar)
        with self._beside_training():
            results = self.evaluate(epoch)
        self.evaluations.append(results)
        for result in results:
            self._record_evaluation(epoch, result)
        self._keep_if_best(epoch, results[0].value)

    def _observe(self, epoch: int) -> None:
        with self._beside_training():
            self.attached.observe(self.step, epoch)

    @contextlib.contextmanager
    def _beside_training(self) -> Iterator[None]:
        """Count the seconds of evaluating and observing apart from those of training."""
        start = time.perf_counter()
        yield
        elapsed = time.perf_counter() - start
        self.evaluation_seconds += elapsed
        self.logged += elapsed

    def _keep_if_best(self, epoch: int, value: float) -> None:
        settled = self.attached.settled()
        if settled and not self.settled_epoch:
            self.settled_epoch = epoch
        if self.settings.protocol == "last":
            self.best = (value, epoch, {})
        elif is_better(value, self.best[0]) and settled:
            state = {name: tensor.detach().cpu().clone() for name, tensor in self.attached.trainable().items()}
            self.best = (value, epoch, state)
        if self.best[1] == epoch:
            self.select()

    def _record_evaluation(self, epoch: int, result: EvalResult) -> None:
        shown = "  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
        LOGGER.info("epoch %d, step %d: loss %.4f  %s  %s", epoch, self.step, self.losses[-1], result.split, shown)
        self.record(
            {
                "step": self.step,
                "epoch": epoch,
                "split": result.split,
                **result.metrics,
                "examples": result.examples,
                "seconds": round(time.perf_counter() - self.started, 3),
                "examples_per_second": round(result.examples / max(result.seconds, 1e-9), 1),
            }
        )

    def _save_if_due(self, *, at_evaluation: bool = False) -> None:
        """Write a checkpoint where one is due, at every evaluation and before stopping.

        Raises:
            StoppedError: it was asked to stop.
        """
        checkpoints = self.checkpoints if self.checkpoints and self.checkpoints.used else None
        by_clock, stopping = self._agreed(checkpoints is not None and checkpoints.due_by_clock(), at_evaluation)
        if checkpoints and (at_evaluation or stopping or by_clock or checkpoints.due_by_step(self.step)):
            self._save(checkpoints)
        if stopping:
            kept = "a checkpoint holds it" if checkpoints else "without checkpoints: it starts anew"
            raise StoppedError(f"interrupted at step {self.step} of {self.total}, {kept}. Give the same command again.")

    def _agreed(self, by_clock: bool, at_evaluation: bool) -> tuple[bool, bool]:
        """Whether any process finds a checkpoint due by its clock, and whether any was asked to stop.

        Several GPUs are asked only where they wait for each other anyway, at a line of metrics or an evaluation.
        """
        wanted = by_clock and self.accelerator.is_main_process, self.stop()
        if self.accelerator.num_processes == 1:
            return wanted
        waiting = self.accelerator.device.type == "cpu" or at_evaluation or self.step % self.settings.log_steps == 0
        if not waiting:
            return False, False
        flags = torch.tensor([float(flag) for flag in wanted], device=self.accelerator.device)
        first, second = self.accelerator.reduce(flags, "sum").tolist()
        return first > 0, second > 0

    def _save(self, checkpoints: Checkpoints) -> None:
        shares = self._shares()
        if not self.accelerator.is_main_process or not torch.isfinite(shares["share/loss_sum"]).all():
            return  # a loss that is not finite ends the run at the next line; the checkpoint before it stays
        best = self.best[0] if math.isfinite(self.best[0]) else None
        state = TrainState(
            step=self.step,
            examples=self.examples,
            loss_examples=self.loss_examples,
            losses=tuple(self.losses[:1] + self.losses[1:][-1:]),
            evaluations=tuple(self.evaluations),
            best_epoch=self.best[1],
            settled_epoch=self.settled_epoch,
            best_value=best,
            seconds=time.perf_counter() - self.started,
            evaluation_seconds=self.evaluation_seconds,
            processes=self.accelerator.num_processes,
            machine=train_machine(),
            threads=torch.get_num_threads(),
            thread_settings=thread_settings(),
        )
        checkpoints.save(state, self._tensors() | shares)

    def _tensors(self) -> dict[str, torch.Tensor]:
        """What trains, its optimizer state, the best weights so far, and what the method keeps; all on the CPU."""
        found = {f"best/{name}": tensor for name, tensor in self.best[2].items()}
        for name, parameter in self.attached.trainable().items():
            found[f"parameter/{name}"] = parameter
            found |= {f"{key}/{name}": value for key, value in self.optimizer.state[parameter].items()}
        if self.attached.state is not None:
            found |= {f"method/{name}": tensor for name, tensor in self.attached.state().items()}
        return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in found.items()}

    def _shares(self) -> dict[str, torch.Tensor]:
        """What each process has of its own, in order of rank: random states, the sum of losses since the last line."""
        random = torch.get_rng_state()
        if self.accelerator.device.type == "cuda":
            random = torch.cat([random, torch.cuda.get_rng_state(self.accelerator.device)])
        device = self.accelerator.device
        found = {"random": random[None].to(device), "loss_sum": self.loss_sum[None]}
        return {f"share/{name}": gather_rows(self.accelerator, tensor).cpu() for name, tensor in found.items()}

    def _resume(self) -> None:
        """Go on from the newest whole checkpoint, if there is one."""
        found = self.checkpoints.latest() if self.checkpoints is not None else None
        if found is None or self.checkpoints is None:
            return
        state, tensors = found
        self.step, self.examples, self.loss_examples = state.step, state.examples, state.loss_examples
        self.losses, self.evaluations = list(state.losses), list(state.evaluations)
        self.evaluation_seconds, self.settled_epoch = state.evaluation_seconds, state.settled_epoch
        self.started, self.logged = time.perf_counter() - state.seconds, time.perf_counter()
        self._load(tensors)
        value = -math.inf if state.best_value is None else state.best_value
        self.best = (value, state.best_epoch, below("best/", tensors))
        LOGGER.info("resumed from the checkpoint at step %d of %d", self.step, self.total)

    def _load(self, tensors: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.attached.trainable().items():
                parameter.copy_(tensors[f"parameter/{name}"])
                state = {key: tensors[f"{key}/{name}"] for key in ADAM_STATE if f"{key}/{name}" in tensors}
                device = parameter.device
                self.optimizer.state[parameter] = {
                    key: value if key == "step" else value.to(device) for key, value in state.items()
                }
        if self.attached.load_state is not None:
            self.attached.load_state(below("method/", tensors))
        self.schedule.last_epoch = self.step
        for group, base, factor in zip(
            self.optimizer.param_groups, self.schedule.base_lrs, self.schedule.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor(self.step)
        rank, cpu = self.accelerator.process_index, len(torch.get_rng_state())
        self.loss_sum = tensors["share/loss_sum"][rank].to(self.accelerator.device)
        random = tensors["share/random"][rank].clone()  # a view has its storage's beginning read
        torch.set_rng_state(random[:cpu])
        if len(random) > cpu:
            torch.cuda.set_rng_state(random[cpu:].clone(), self.accelerator.device)

    def _restore_best(self) -> None:
        parameters = self.attached.trainable()
        with torch.no_grad():
            for name, tensor in self.best[2].items():
                parameters[name].copy_(tensor)

    def _result(self, epochs: int) -> TrainResult:
        seconds = time.perf_counter() - self.started
        ranks, adapter_params = self.attached.ranks()
        return TrainResult(
            steps=self.step,
            epochs=epochs,
            examples=self.examples,
            trainable_params=sum(parameter.numel() for parameter in self.parameters),
            effective_ranks=ranks,
            adapter_params=adapter_params,
            selected_epoch=self.best[1],
            settled_epoch=self.settled_epoch or epochs,
            first_loss=self.losses[0],
            last_loss=self.losses[-1],
            seconds=seconds - self.evaluation_seconds,
            evaluation_seconds=self.evaluation_seconds,
            evaluations=tuple(self.evaluations),
        )


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
