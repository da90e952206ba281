"""Which rows form a batch, in training and in passes that only read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def epoch_batches(lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Global batches of one epoch, each row once: a function of (lengths, batch_size, seed, epoch) alone.

    Rows are shuffled, cut into pools of 50 batches, sorted by length within each pool and cut into batches, whose
    order is shuffled. So a batch holds rows of like length, and which rows meet changes from epoch to epoch.
    """
    generator = np.random.default_rng([seed, epoch, 1])
    order = generator.permutation(len(lengths))
    pool = 50 * batch_size
    pools = [order[start : start + pool] for start in range(0, len(order), pool)]
    by_length = np.concatenate([rows[np.argsort(-lengths[rows], kind="stable")] for rows in pools])
    batches = [by_length[start : start + batch_size] for start in range(0, len(by_length), batch_size)]
    return [batches[index] for index in generator.permutation(len(batches))]


def sorted_batches(lengths: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Every row once in batches of like length, longest first: the order for passes that only look."""
    order = np.argsort(-lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
