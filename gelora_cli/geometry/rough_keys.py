"""Keys of all pairs in bfloat16, for processors that multiply matrices of it many times faster than of float32.

Letters: n points, d columns, m rows of interest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from gelora_cli.geometry.keys import GROUP, Cloud, FirstLook, Shortlist, key_errors, padded
from gelora_cli.geometry.points import Array

HALVES = 3
"""Numbers of bfloat16 whose sum holds half a squared norm to 24 bits."""
ROUNDOFF = 2.0**-8
"""The unit roundoff of bfloat16."""
ROWS, COLUMNS = 256, 8192
"""Rows and columns at most of a product: the keys, 4 MiB, stay near the core until they are read."""
FEWEST_POINTS = 512
LEAST_MEMORY = 64 * 2**20
INFINITE = 0x7F80
"""The bits of an infinite key."""

Keys = npt.NDArray[np.int64]


def multiplies_bfloat16_fast() -> bool:
    """Return whether this processor has matrix units for bfloat16 (AMX) that torch uses."""
    has_units = torch.cpu.get_capabilities().get("amx_bf16", False)
    return bool(has_units and torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled)  # type: ignore[no-untyped-call]


def rough_count(count: int) -> int:
    """Return how many keys to keep so that few points are unsure of their `count` nearest neighbours [ours].

    Of 8,528 sentence states of MiniLM (384 columns), 0.1 % were unsure of 12 neighbours with 24 keys, 15 % with 16.
    """
    return count + max(10, min(count, 12 + count // 4))


def suits_rough_keys(cloud: Cloud, count: int, memory_bytes: int) -> bool:
    """Return whether a first look in bfloat16 is possible and pays."""
    if cloud.points.device.type != "cpu" or memory_bytes < LEAST_MEMORY:
        return False
    return len(cloud.points) >= max(FEWEST_POINTS, 8 * rough_count(count)) and multiplies_bfloat16_fast()


def look_roughly(cloud: Cloud, members: torch.Tensor, count: int, memory_bytes: int, workers: Executor) -> FirstLook:
    """Return the smallest keys in bfloat16 of the points `members` (m,), each against all points.

    With x' the point x (centred and scaled) rounded to bfloat16, the key is `|x' - y'|^2 / 2`: the product of
    `[-x', h1, h2, h3, 1, 1, 1]` and `[y', 1, 1, 1, h1, h2, h3]`, with h1 + h2 + h3 half a squared norm. Products of
    bfloat16 are exact in float32, in which they are summed; the sum is rounded to bfloat16.

    Guarantee: `| |x' - y'| - |x - y| | <= |x' - x| + |y' - y|`, and both terms on the right are known exactly, since
    they are the lengths of differences that were computed. `FirstLook.bound` adds them to the distance.

    Args:
        cloud: the points, on the CPU.
        members: rows of the points of interest.
        count: neighbours wanted of each; `rough_count` says how many keys are kept.
        memory_bytes: bound of the working memory.
        workers: share the rows.
    """
    n, width = len(cloud.points), padded(cloud.points.shape[1] + 2 * HALVES)
    kept = rough_count(count)
    best = np.full((len(members), kept), INFINITE << 32, dtype=np.int64)
    norms, moved = np.empty(len(members)), np.empty(len(members))
    largest_move = 0.0
    for chunk in _slices(n, max(COLUMNS, memory_bytes // 2 // (2 * width))):
        right = _round_chunk(cloud, chunk, workers)
        largest_move = max(largest_move, float(right.moved.max()))

        def look(rows: slice, right: _Rounded = right, chunk: slice = chunk) -> None:
            here = members[rows]
            left = right.rows(here) if len(right.norms) == n else _round(cloud, here)
            norms[rows], moved[rows] = left.norms, left.moved
            operand = left.as_left_side(cloud.points.shape[1])
            for columns in _slices(len(right.operand), COLUMNS):
                keys = torch.mm(operand, right.operand[columns].T)  # (rows, columns) bfloat16
                first = chunk.start + columns.start
                _exclude_themselves(keys, here, first)
                found = np.concatenate((best[rows], _smallest(keys, kept, first)), axis=1)
                best[rows] = np.partition(found, kept - 1, axis=1)[:, :kept]

        list(workers.map(look, _slices(len(members), ROWS)))
    best.sort(axis=1)
    bits = (best >> 32).astype(np.int16)
    shortlist = Shortlist(torch.from_numpy(bits).view(torch.bfloat16).float(), torch.from_numpy(best & 0xFFFFFFFF))
    errors = key_errors(width, torch.float32, ROUNDOFF)
    return FirstLook(shortlist, errors, torch.from_numpy(norms), torch.from_numpy(moved + largest_move))


def _slices(n: int, widest: int) -> Iterator[slice]:
    """Return slices over `0 .. n` of about equal width, a multiple of 32."""
    width = padded(-(-n // -(-n // widest)))
    return (slice(first, min(first + width, n)) for first in range(0, n, width))


@dataclass(frozen=True)
class _Rounded:
    """Points rounded to bfloat16.

    Attributes:
        operand: `[x', 1, 1, 1, h1, h2, h3, 0 ..]`, (rows, width) bfloat16, the right side of a product.
        norms: `|x'|`, float64. Rows of the operand beyond those stand for no point and give infinite keys.
        moved: `|x' - x|`, float64.
    """

    operand: torch.Tensor
    norms: Array
    moved: Array

    def rows(self, rows: torch.Tensor) -> _Rounded:
        """Return some of the points."""
        places = rows.numpy()
        return _Rounded(self.operand[rows], self.norms[places], self.moved[places])

    def as_left_side(self, d: int) -> torch.Tensor:
        """Return `[-x', h1, h2, h3, 1, 1, 1, 0 ..]`, (rows, width)."""
        left = self.operand.clone()
        left[:, :d].neg_()
        left[:, d : d + HALVES] = self.operand[:, d + HALVES : d + 2 * HALVES]
        left[:, d + HALVES : d + 2 * HALVES] = 1
        return left


def _round_chunk(cloud: Cloud, chunk: slice, workers: Executor) -> _Rounded:
    """Round the points of a chunk; the operand gets a multiple of 32 rows."""
    blocks = _slices(chunk.stop - chunk.start, ROWS)
    rows = [torch.arange(chunk.start + block.start, chunk.start + block.stop) for block in blocks]
    parts = list(workers.map(lambda block: _round(cloud, block), rows))
    empty = torch.zeros((-(chunk.stop - chunk.start) % GROUP, parts[0].operand.shape[1]), dtype=torch.bfloat16)
    empty[:, cloud.points.shape[1] + HALVES] = math.inf
    operand = torch.cat([*(part.operand for part in parts), empty])
    norms = np.concatenate([part.norms for part in parts])
    return _Rounded(operand, norms, np.concatenate([part.moved for part in parts]))


def _round(cloud: Cloud, rows: torch.Tensor) -> _Rounded:
    d = cloud.points.shape[1]
    x = cloud.centred(rows)  # (rows, d)
    rounded = x.bfloat16()
    exact = rounded.double()
    moved = x.sub_(exact).square_().sum(dim=1).sqrt_()
    squares = exact.square_().sum(dim=1)
    operand = torch.zeros((len(rows), padded(d + 2 * HALVES)), dtype=torch.bfloat16)
    operand[:, :d] = rounded
    operand[:, d : d + HALVES] = 1
    rest = squares / 2
    for column in range(d + HALVES, d + 2 * HALVES):
        operand[:, column] = rest
        rest -= operand[:, column]
    return _Rounded(operand, squares.sqrt_().numpy(), moved.numpy())


def _exclude_themselves(keys: torch.Tensor, rows: torch.Tensor, first: int) -> None:
    """Make the key of each point with itself infinite; `keys` (rows, columns) count columns from `first`."""
    places = rows - first
    inside = ((places >= 0) & (places < keys.shape[1])).nonzero().flatten()
    keys[inside, places[inside]] = math.inf


def _smallest(keys: torch.Tensor, count: int, first: int) -> Keys:
    """Return the smallest keys of every row (rows, 32 m) as `bits << 32 | column`, (rows, count) or fewer.

    The bits of keys from 0 up are ordered as the keys are. Those below 0, which are rounding, come before all others
    in some order; where they are so many that the last one kept is among them, no point is called sure.

    As in `keys.smallest_keys`, the smallest lie in the groups of columns whose minima are smallest.
    """
    rows, width = keys.shape
    bits = keys.view(torch.int16)
    count = min(count, width)
    size = _group_size(width, count)
    groups = width // size
    minima = bits.view(rows, size, groups).amin(dim=1) if size > 1 else bits
    packed = _smallest_places(minima.numpy(), np.arange(groups, dtype=np.int32), count)
    if size > 1:
        chosen = packed & 0xFFFF  # (rows, count)
        members = (chosen[:, :, None] + groups * np.arange(size, dtype=np.int32)).reshape(rows, -1)
        values = bits.gather(1, torch.from_numpy(members.astype(np.int64))).numpy()
        packed = _smallest_places(values, members, count)
    return (packed >> 16).astype(np.int64) << 32 | ((packed & 0xFFFF) + first)


def _group_size(width: int, count: int) -> int:
    """Return how many columns form a group: reading `width / size` minima and `size * count` columns is cheapest."""
    size = GROUP
    while size > 1 and (2 * size * size * count > width or width // size < count):
        size //= 2
    return size


def _smallest_places(bits: npt.NDArray[np.int16], places: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.int32]:
    """Return the smallest of `bits << 16 | place`, (rows, count), in any order."""
    packed = bits.astype(np.int32)
    packed <<= 16
    packed |= places
    return np.partition(packed, count - 1, axis=1)[:, :count]
