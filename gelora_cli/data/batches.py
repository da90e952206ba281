"""Decide which rows form a batch, in training and in passes that only read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BATCHES_PER_POOL = 50
"""Batches within which rows are sorted by length. It decides which rows meet, so it can't change between releases."""


def epoch_batches(lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Return the global batches of one epoch, in which each row comes once.

    The rows are shuffled and cut into pools of 50 batches. Each pool is sorted by length and cut into batches, and the
    order of the batches is shuffled. So a batch holds rows of similar length, and which rows meet changes with the
    epoch. The result depends on the four arguments alone.

    Args:
        lengths: tokens of each row, (n,).
        batch_size: rows of a global batch, over all processes.
        seed: the seed of the run.
        epoch: number of the epoch.
    """
    # These three numbers decide the batches of every run, so they can't change between releases either.
    generator = np.random.default_rng([seed, epoch, 1])
    order = generator.permutation(len(lengths))  # (n,)
    pool_size = BATCHES_PER_POOL * batch_size
    pools = [order[start : start + pool_size] for start in range(0, len(order), pool_size)]
    # A stable sort keeps the shuffled order among rows of equal length.
    by_length = np.concatenate([rows[np.argsort(-lengths[rows], kind="stable")] for rows in pools])  # (n,)
    batches = [by_length[start : start + batch_size] for start in range(0, len(by_length), batch_size)]
    return [batches[index] for index in generator.permutation(len(batches))]


def sorted_batches(lengths: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Return batches of similar length in which each row comes once, the longest rows first.

    This is the order for passes without training. The largest batch comes first, so memory runs out early or never.
    """
    order = np.argsort(-lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
