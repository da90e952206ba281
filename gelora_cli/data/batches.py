"""Decide which rows form a batch, in training and in passes that only read, and which of them share a sequence."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from gelora_cli.models.operations import Load

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


def micro_batches(
    rows: NDArray[np.int64], process: int, processes: int, size: int | None
) -> list[tuple[NDArray[np.int64], bool]]:
    """Return a process's micro-batches of a global batch, and whether each counts.

    Every process has equally many, since all must take part in the exchange of gradients. One that has no row left
    borrows a row that does not count.

    Args:
        rows: the global batch, (B,).
        process: the number of the process.
        processes: how many there are.
        size: the most rows of a micro-batch; None for all of a process's share.
    """
    local_rows = rows[process::processes]
    largest = -(-len(rows) // processes)  # rows of the process that has most
    size = size or largest
    parts = [local_rows[start : start + size] for start in range(0, largest, size)]
    return [(part, True) if len(part) else (rows[:1], False) for part in parts]


def own_parts(rows: NDArray[np.int64], process: int, processes: int, size: int | None) -> list[NDArray[np.int64]]:
    """Return a process's rows of a global batch (B,) in parts of at most `size` rows; None takes them as one part.

    Unlike in training, processes may have unequally many: gradients are exchanged only after the last part.
    """
    local_rows = rows[process::processes]
    step = size or max(1, len(local_rows))
    return [local_rows[start : start + step] for start in range(0, len(local_rows), step)]


def padded_load(lengths: NDArray[np.int64], batches: Iterable[NDArray[np.int64]]) -> Load:
    """Return what goes through a model in batches whose rows are padded to the longest of each.

    Args:
        lengths: tokens of each row of the split, (n,).
        batches: the rows of each batch, (B,).
    """
    load = Load()
    for batch in batches:
        load += Load.of_batch(len(batch), int(lengths[batch].max()))
    return load


def pack_rows(lengths: NDArray[np.int64], width: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Decide which rows of a batch follow one another in one sequence, and where in it each begins.

    First-fit decreasing: from the longest to the shortest, each row goes into the first sequence with enough room, or
    into a new one. The result depends on the lengths alone.

    Args:
        lengths: tokens of each row, (B,).
        width: the most tokens of a sequence, at least those of the longest row, which are the default. With it rows
            never take more places than with padding, and as many as with it where they are equally long [ours].

    Returns:
        The number of each row's sequence from 0, and its first place there: (B,) and (B,).
    """
    width = width or int(lengths.max())
    sequences, starts = np.zeros_like(lengths), np.zeros_like(lengths)  # (B,), (B,)
    used: list[int] = []  # tokens in each sequence so far
    # A stable sort keeps rows of equal length in their order.
    for row in np.argsort(-lengths, kind="stable"):
        length = int(lengths[row])
        sequence = next((number for number, tokens in enumerate(used) if tokens + length <= width), len(used))
        if sequence == len(used):
            used.append(0)
        sequences[row], starts[row] = sequence, used[sequence]
        used[sequence] += length
    return sequences, starts


def packed_load(lengths: NDArray[np.int64], batches: Iterable[NDArray[np.int64]]) -> Load:
    """Return what goes through a model in batches whose rows are packed; arguments are those of `padded_load`."""
    load = Load()
    for batch in batches:
        sequences, _ = pack_rows(lengths[batch])
        load += Load.of_batch(int(sequences.max()) + 1, int(lengths[batch].max()))
    return load


def batch_load(lengths: NDArray[np.int64], batches: Iterable[NDArray[np.int64]], *, packing: bool) -> Load:
    """Return `packed_load` with `packing`, and `padded_load` without."""
    return packed_load(lengths, batches) if packing else padded_load(lengths, batches)
