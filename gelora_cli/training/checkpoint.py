"""Checkpoints of a training: its tensors in safetensors and its counts in JSON, complete or not at all.

A checkpoint is a directory `checkpoints/step-N-E`, after N steps and E evaluations, with `state.safetensors` and
`state.json`, which names the sha256 of the tensors. It is written under another name and renamed when it is complete.
The previous checkpoint is removed after that.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from gelora_cli.core.artifacts.result import EvalResult
from gelora_cli.core.codec import read_artifact, to_json
from gelora_cli.core.errors import GeloraError, UnusableError
from gelora_cli.core.files import file_sha256, prefix_sha256, translate_write_errors, write_atomic
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.run_files import CHECKPOINTS, METRICS

if TYPE_CHECKING:
    import torch

TENSORS = "state.safetensors"


@dataclass(frozen=True)
class TrainState:
    """The progress of a training without its tensors. The names of the fields are those of `state.json`.

    Attributes:
        step: optimizer steps taken.
        examples: examples trained on, over all processes; an example counts once in each epoch.
        loss_examples: those of them since the last reading of the loss.
        losses: the first and the last logged loss.
        evaluations: the results of each evaluated epoch, of the selecting split first.
        before: the results before the first step; empty for a training that began without an evaluation.
        best_epoch: the epoch to keep so far, from 1; 0 before the first evaluation.
        settled_epoch: the first epoch that keeps the budget; 0 if there is none yet.
        best_value: the value of `best_epoch`; None if it is not finite.
        seconds: time of all attempts, evaluations included.
        evaluation_seconds: the part of it that was spent on evaluating and observing.
        processes: how many processes trained.
        machine: where it was written (`devices.train_machine`).
        metrics_bytes: how many bytes of `metrics.jsonl` belong to it.
        metrics_sha256: the sha256 of these bytes.
        tensors_sha256: the sha256 of the file of tensors.
        threads: CPU threads that each process computed with; 0 in a checkpoint of an earlier version.
        thread_settings: the environment variables that set them.
        loss_divisor: what the sum of the losses since the last reading is divided by; None in a checkpoint of an
            earlier version, where it is `loss_examples`.
    """

    step: int
    examples: int
    loss_examples: int
    losses: tuple[float, ...]
    evaluations: tuple[tuple[EvalResult, ...], ...]
    best_epoch: int
    settled_epoch: int
    best_value: float | None
    seconds: float
    evaluation_seconds: float
    processes: int
    machine: str
    metrics_bytes: int = 0
    metrics_sha256: str = ""
    tensors_sha256: str = ""
    threads: int = 0
    thread_settings: str = ""
    loss_divisor: int | None = None
    before: tuple[EvalResult, ...] = ()

    FILE: ClassVar[str] = "state.json"


class Checkpoint(NamedTuple):
    """The state of a training: its progress, and its tensors by name, on the CPU."""

    state: TrainState
    tensors: dict[str, torch.Tensor]


class CheckpointStore(Protocol):
    """Where checkpoints are saved, and when one is due."""

    @property
    def enabled(self) -> bool:
        """Return whether any are written."""

    def due_by_step(self, step: int) -> bool:
        """Return whether one is due after this step, which every process sees alike."""

    def due_by_clock(self) -> bool:
        """Return whether one is due by this process's clock."""

    def save(self, state: TrainState, tensors: dict[str, torch.Tensor]) -> None:
        """Save a checkpoint in place of the previous ones."""

    def latest(self) -> Checkpoint | None:
        """Return the newest valid checkpoint."""


@dataclass
class Checkpoints(CheckpointStore):
    """The checkpoints of one run directory, every `steps` optimizer steps or `seconds`; none if both are None."""

    directory: Path
    steps: int | None
    seconds: float | None
    last_written: float = 0.0  # on the clock of time.perf_counter

    def __post_init__(self) -> None:
        self.last_written = time.perf_counter()

    @property
    def enabled(self) -> bool:
        """Return whether any are written."""
        return self.steps is not None or self.seconds is not None

    def due_by_step(self, step: int) -> bool:
        """Return whether one is due after this step, which every process sees alike."""
        return self.steps is not None and step % self.steps == 0

    def due_by_clock(self) -> bool:
        """Return whether `seconds` have passed since the last one, by this process's clock."""
        return self.seconds is not None and time.perf_counter() - self.last_written >= self.seconds

    def save(self, state: TrainState, tensors: dict[str, torch.Tensor]) -> None:
        """Write a checkpoint and remove the previous ones.

        Raises:
            GeloraError: the disk is full or can't be written to; the previous checkpoint is intact.
        """
        from safetensors.torch import save_file

        root = self.directory / CHECKPOINTS
        target, temporary = step_path(self.directory, state), root / f".writing-{os.getpid()}"
        if target.exists():
            with contextlib.suppress(GeloraError):
                # A valid checkpoint of the same step is never replaced, so that there is a valid one at any moment.
                verify_checkpoint(target, self.directory)
                self.last_written = time.perf_counter()
                return
        for old in (target, *root.glob(".writing-*")):
            shutil.rmtree(old, ignore_errors=True)
        with translate_write_errors(target):
            # The order matters: tensors and metrics reach the disk before the state that names their sha256, and the
            # directory gets its name last. A machine that loses power at any moment leaves a checkpoint that is valid.
            temporary.mkdir(parents=True)
            save_file(tensors, temporary / TENSORS)
            _sync_to_disk(temporary / TENSORS)
            metrics = self.directory / METRICS
            size = metrics.stat().st_size if metrics.exists() else 0
            if size:
                _sync_to_disk(metrics)
            complete = replace(
                state,
                metrics_bytes=size,
                metrics_sha256=prefix_sha256(metrics, size),
                tensors_sha256=file_sha256(temporary / TENSORS),
            )
            write_atomic(temporary / TrainState.FILE, to_json(complete))
            temporary.replace(target)
            _sync_to_disk(root)  # the rename is a change of this directory
        for other in saved_checkpoints(self.directory):
            if other != target:
                shutil.rmtree(other, ignore_errors=True)
        self.last_written = time.perf_counter()

    def latest(self) -> Checkpoint | None:
        """Return the newest valid checkpoint; a damaged one is named in the log and skipped."""
        from safetensors.torch import load_file

        state = latest_valid_checkpoint(self.directory)
        if state is None:
            return None
        return Checkpoint(state, load_file(step_path(self.directory, state) / TENSORS))


def step_path(directory: Path, state: TrainState) -> Path:
    """Return the path of a checkpoint in a run directory."""
    # Padded, so that names sort by step. Two checkpoints of one step differ in the evaluation between them.
    return directory / CHECKPOINTS / f"step-{state.step:08d}-{len(state.evaluations):04d}"


def latest_valid_checkpoint(directory: Path) -> TrainState | None:
    """Return the state of a run directory's newest valid checkpoint; damaged ones are named in the log.

    Raises:
        GeloraError: one can't be read, or was written by another version: the user must delete it.
    """
    for path in reversed(saved_checkpoints(directory)):
        try:
            return verify_checkpoint(path, directory)
        except UnusableError as error:
            # Not damaged, so it may be the only record of a long training. The user decides about it.
            raise UnusableError(f"{error} To start from scratch, delete the checkpoint {path}.") from error
        except GeloraError as error:
            LOGGER.warning("checkpoint %s is not used: %s", path, error)
    return None


def saved_checkpoints(directory: Path) -> list[Path]:
    """Return the checkpoints of a run directory, oldest first."""
    return sorted((directory / CHECKPOINTS).glob("step-*"))


def verify_checkpoint(path: Path, run: Path) -> TrainState:
    """Return the state of a checkpoint that is complete and belongs to the run's metrics so far.

    Raises:
        GeloraError: a part of it is missing, damaged or of another training; the message says which.
    """
    state = read_artifact(TrainState, path / TrainState.FILE)
    if step_path(run, state) != path:
        raise GeloraError(f"{path / TrainState.FILE} is that of step {state.step}")
    if not (path / TENSORS).is_file() or file_sha256(path / TENSORS) != state.tensors_sha256:
        raise GeloraError(f"{path / TENSORS} is missing or damaged (another sha256 than {TrainState.FILE} says)")
    # The file may have grown after the checkpoint; a resumed training cuts it to these bytes.
    metrics = run / METRICS
    size = metrics.stat().st_size if metrics.is_file() else 0
    if size < state.metrics_bytes or prefix_sha256(metrics, state.metrics_bytes) != state.metrics_sha256:
        raise GeloraError(f"{metrics} was changed or cut since it was written")
    return state


def _sync_to_disk(path: Path) -> None:
    """Have the system write a file or a directory to the disk now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
