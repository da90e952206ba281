"""Estimate what a training would cost from the seconds of its first steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gelora_cli.core.artifacts.result import EvalResult
from gelora_cli.data.batches import epoch_batches, padded_load
from gelora_cli.data.encoding import EncodedSplit

if TYPE_CHECKING:
    from gelora_cli.training.loop import Trainer


def time_steps(trainer: Trainer, steps: int) -> list[tuple[int, float]]:
    """Take the first optimizer steps and return the padded tokens and the seconds of each; the weights change."""
    settings, split = trainer.settings, trainer.split
    times = []
    with trainer.ready_to_step():
        for rows in epoch_batches(split.lengths, settings.batch_size, settings.seed, 1)[:steps]:
            start = time.perf_counter()
            trainer.train_step(rows)
            float(trainer.state.loss_sum)  # waits for the device, which computes asynchronously
            times.append((padded_tokens(split, [rows]), time.perf_counter() - start))
    return times


def padded_tokens(split: EncodedSplit, batches: Sequence[NDArray[np.int64]]) -> int:
    """Return the tokens of these batches, each row padded to the longest of its batch."""
    return padded_load(split.lengths, batches).tokens


def no_results(epoch: int) -> tuple[EvalResult, ...]:
    """Evaluate nothing: for a trainer whose steps are timed alone."""
    return ()
