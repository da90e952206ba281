"""Trainings without a run directory, composed as the pipeline composes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from gelora_cli.core.artifacts.result import EvalResult, TrainResult
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.methods.base import AdaptedModel
from gelora_cli.training.checkpoint import Checkpoints, CheckpointStore
from gelora_cli.training.checkpointing import Checkpointing
from gelora_cli.training.loop import Trainer
from gelora_cli.training.recording import MetricsLog, ProgressBar
from gelora_cli.training.selection import BestEpoch
from gelora_cli.training.settings import TrainSettings

NO_CHECKPOINTS = Checkpoints(Path("nowhere"), None, None)


class Recorder:
    """A tracker that hands each line to a function."""

    def __init__(self, record: Callable[[dict[str, Any]], None]) -> None:
        self.record = record

    def log(self, values: Mapping[str, Any]) -> None:
        """Hand the line on."""
        self.record(dict(values))

    def close(self) -> None:
        """Do nothing, since nothing is buffered."""


def fine_tune(
    attached: AdaptedModel,
    split: EncodedSplit,
    settings: TrainSettings,
    *,
    pad_token_id: int,
    accelerator: Accelerator,
    evaluate: Callable[[int], tuple[EvalResult, ...]],
    record: Callable[[dict[str, Any]], None],
    select: Callable[[], None] = lambda: None,
    checkpoints: CheckpointStore = NO_CHECKPOINTS,
    stop: Callable[[], bool] = lambda: False,
    arithmetic: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> TrainResult:
    """Train with the callbacks of a run, resuming from the newest checkpoint."""
    trainer = Trainer(
        attached,
        split,
        settings,
        pad_token_id=pad_token_id,
        accelerator=accelerator,
        evaluate=evaluate,
        callbacks=[MetricsLog([Recorder(record)]), ProgressBar(), BestEpoch(select), Checkpointing(checkpoints, stop)],
        arithmetic=arithmetic,
    )
    return trainer.fit(resume_from=checkpoints.latest())
