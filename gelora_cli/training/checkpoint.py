"""Checkpoints of a training: what trains and where it stands, in safetensors and JSON, complete or not at all.

A checkpoint is a directory `checkpoints/step-N-E`, after N steps and E evaluations, with `state.safetensors` and
`state.json`, which names the sha256 of the tensors. It is written under another name and renamed when it is whole; the
one before goes after that.
"""

from __future__ import annotations

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
    """Where a training stands after `step` optimizer steps, beside its tensors.

    `examples` were trained on, `loss_examples` of them since the last line of metrics, and `losses` are the first and
    the last logged; `metrics_bytes` of `metrics.jsonl` belong to it. Seconds are those of all attempts; `machine`
    is where it was written (`devices.train_machine`). `threads` are the CPU threads that each process computed with,
    and `thread_settings` the environment variables that set them; 0 in a checkpoint written before they were kept.
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

    FILE: ClassVar[str] = "state.json"


class Checkpoint(NamedTuple):
    """A training's state: where it stands, and its tensors by name, on the CPU."""

    state: TrainState
    tensors: dict[str, torch.Tensor]


class CheckpointStore(Protocol):
    """Where checkpoints are kept, and when one is due."""

    @property
    def used(self) -> bool:
        """Return whether any are written."""

    def due_by_step(self, step: int) -> bool:
        """Return whether one is due after this step, which every process sees alike."""

    def due_by_clock(self) -> bool:
        """Return whether one is due by this process's clock."""

    def save(self, state: TrainState, tensors: dict[str, torch.Tensor]) -> None:
        """Keep a checkpoint in place of those before it."""

    def latest(self) -> Checkpoint | None:
        """Return the newest valid checkpoint."""


@dataclass
class Checkpoints(CheckpointStore):
    """The checkpoints of one run directory, every `steps` optimizer steps or `seconds`; none where both are None."""

    directory: Path
    steps: int | None
    seconds: float | None
    written: float = 0.0

    def __post_init__(self) -> None:
        self.written = time.perf_counter()

    @property
    def used(self) -> bool:
        """Return whether any are written."""
        return self.steps is not None or self.seconds is not None

    def due_by_step(self, step: int) -> bool:
        """Return whether one is due after this step, which every process sees alike."""
        return self.steps is not None and step % self.steps == 0

    def due_by_clock(self) -> bool:
        """Return whether `seconds` have passed since the last one, by this process's clock."""
        return self.seconds is not None and time.perf_counter() - self.written >= self.seconds

    def save(self, state: TrainState, tensors: dict[str, torch.Tensor]) -> None:
        """Write a checkpoint and remove those before it.

        Raises:
            GeloraError: the disk is full or can't be written to; the checkpoint before is intact.
        """
        from safetensors.torch import save_file

        root = self.directory / CHECKPOINTS
        target, temporary = step_path(self.directory, state), root / f".writing-{os.getpid()}"
        if target.exists() and _is_valid(target, self.directory):
            self.written = time.perf_counter()
            return  # a valid checkpoint of the same step is never replaced, so that there is always one
        for old in (target, *root.glob(".writing-*")):
            shutil.rmtree(old, ignore_errors=True)
        with translate_write_errors(target):
            # The order matters: tensors and metrics reach the disk before the state that names their sha256, and the
            # directory gets its name last. A machine that loses power at any moment leaves a checkpoint that is valid.
            temporary.mkdir(parents=True)
            save_file(tensors, temporary / TENSORS)
            _flush(temporary / TENSORS)
            metrics = self.directory / METRICS
            size = metrics.stat().st_size if metrics.exists() else 0
            if size:
                _flush(metrics)
            complete = replace(
                state,
                metrics_bytes=size,
                metrics_sha256=prefix_sha256(metrics, size),
                tensors_sha256=file_sha256(temporary / TENSORS),
            )
            write_atomic(temporary / TrainState.FILE, to_json(complete))
            temporary.replace(target)
            _flush(root)
        for other in saved_checkpoints(self.directory):
            if other != target:
                shutil.rmtree(other, ignore_errors=True)
        self.written = time.perf_counter()

    def latest(self) -> Checkpoint | None:
        """Return the newest valid checkpoint; a damaged one is named in the log and passed over."""
        from safetensors.torch import load_file

        state = latest_valid_checkpoint(self.directory)
        if state is None:
            return None
        return Checkpoint(state, load_file(step_path(self.directory, state) / TENSORS))


def step_path(directory: Path, state: TrainState) -> Path:
    """Return the place of a checkpoint in a run directory."""
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
        GeloraError: what of it is missing, damaged or of another training.
    """
    state = read_artifact(TrainState, path / TrainState.FILE)
    if step_path(run, state) != path:
        raise GeloraError(f"{path / TrainState.FILE} is that of step {state.step}")
    if not (path / TENSORS).is_file() or file_sha256(path / TENSORS) != state.tensors_sha256:
        raise GeloraError(f"{path / TENSORS} is missing or damaged (another sha256 than {TrainState.FILE} says)")
    metrics = run / METRICS
    size = metrics.stat().st_size if metrics.is_file() else 0
    if size < state.metrics_bytes or prefix_sha256(metrics, state.metrics_bytes) != state.metrics_sha256:
        raise GeloraError(f"{metrics} was changed or cut since it was written")
    return state


def _is_valid(path: Path, run: Path) -> bool:
    try:
        return bool(verify_checkpoint(path, run))
    except GeloraError:
        return False


def _flush(path: Path) -> None:
    """Have the system write a file or a directory to the disk now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
