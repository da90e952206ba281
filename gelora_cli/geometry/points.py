"""Clouds of points as arrays: their checks, their scale, and whether they are constant.

Letters: n points, d columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gelora_cli.core.errors import GeloraError

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

MEMORY_BYTES = 256 * 2**20
"""Working memory of a search, besides the points themselves, in bytes."""
CONSTANT_SPREAD = 1e-5
"""Points that spread by at most so much of their mean norm count as constant."""


def check_points(points: npt.NDArray[Any], memory_bytes: int) -> npt.NDArray[Any]:
    """Return the points as a C-contiguous (n, d) array of float16, float32 or float64, all finite.

    Raises:
        GeloraError: they are no (n, d) array of real numbers, or not finite.
    """
    array = np.asarray(points)
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "fiub":
        raise GeloraError(
            f"Points of shape {array.shape} and type {array.dtype} given; real numbers of shape (points, columns) are "
            "accepted."
        )
    # torch reads no other byte order, and integers and long doubles are computed with as float64 anyway.
    dtype = array.dtype.newbyteorder("=") if array.dtype.kind == "f" and array.dtype.itemsize <= 8 else np.float64
    array = np.require(array, dtype, ["C_CONTIGUOUS", "WRITEABLE"])
    bad = [(~np.isfinite(array[rows])).sum(axis=1) for rows in row_blocks(array, memory_bytes)]
    counts = np.concatenate([np.zeros(0, np.int64), *bad])
    if counts.any():
        raise GeloraError(
            f"{counts.sum()} values in {np.count_nonzero(counts)} of {len(array)} points are not finite; "
            "only finite values are accepted. Look for overflow in half precision, or use float32."
        )
    return array


def row_blocks(points: npt.NDArray[Any], memory_bytes: int) -> Iterator[slice]:
    """Return slices over the rows, each of at most an eighth of the memory (and 4 MiB) as float64."""
    # An eighth, because callers hold several float64 copies of a block.
    rows = max(1, min(memory_bytes // 8, 4 * 2**20) // (8 * points.shape[1]))
    return (slice(start, min(start + rows, len(points))) for start in range(0, len(points), rows))


def is_constant(points: npt.NDArray[Any], memory_bytes: int) -> bool:
    """Return whether all points are one: their total spread is at most 1e-5 of the mean norm."""
    if len(points) < 2:
        return False
    scale, centre = scale_and_centre(points, memory_bytes)
    squares, norms = 0.0, 0.0
    for rows in row_blocks(points, memory_bytes):
        block = points[rows].astype(np.float64) * scale
        norms += float(np.linalg.norm(block, axis=1).sum())
        squares += float(np.square(block - centre).sum())
    return math.sqrt(squares / len(points)) <= CONSTANT_SPREAD * norms / len(points)


def scale_and_centre(points: npt.NDArray[Any], memory_bytes: int) -> tuple[float, Array]:
    """Return a power of two that brings all values into [-1, 1], and the mean (d,) of the points times it."""
    largest = max((float(np.abs(points[rows]).max()) for rows in row_blocks(points, memory_bytes)), default=0.0)
    scale = power_of_two_below(largest)  # multiplying by it rounds nothing
    total = np.zeros(points.shape[1])
    for rows in row_blocks(points, memory_bytes):
        total += (points[rows].astype(np.float64) * scale).sum(axis=0)
    return scale, total / len(points)


def power_of_two_below(largest: float) -> float:
    """Return a power of two p with p * largest in [0.5, 1), or the nearest one whose square stays in range."""
    # frexp(x) = (m, e) with x = m 2^e and m in [0.5, 1). Of float64's exponents, -1022 to 1023, some room is left.
    return math.ldexp(1.0, max(-1000, min(-math.frexp(largest)[1], 900)))
