"""Keys (half the squared distances) of all pairs of points, tile by tile, and the smallest keys of each point.

Letters: n points, d columns.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gelora_cli.geometry.points import power_of_two_below, row_blocks, scale_and_centre

GROUP = 32
"""Columns of a group at most, of which only the minimum is read at first; tiles are multiples of it."""
NORM_ROWS = 256
"""Rows whose lengths are computed at once."""
FEW = 6
"""Up to so many keys, groups have their full width."""


@dataclass(frozen=True)
class Cloud:
    """Points (n, d) as given, a power of two `scale`, and the mean (d,) of `scale * points`."""

    points: torch.Tensor
    scale: float
    centre: torch.Tensor

    def centred(self, rows: slice | torch.Tensor) -> torch.Tensor:
        """Return scaled points minus their mean, (rows, d) float64, all values within [-1, 1]."""
        return self.points[rows].to(torch.float64, copy=True).mul_(self.scale).sub_(self.centre)

    def norms(self, rows: slice | torch.Tensor) -> torch.Tensor:
        """Return the lengths of the centred points, (rows,) float64."""
        return self.centred(rows).square_().sum(dim=1).sqrt_()

    def squares(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Return the scaled squared distances (rows, k) float64 from the points `rows` to their `columns` (rows, k)."""
        gaps = (
            self.points.index_select(0, columns.flatten()).double().view(*columns.shape, self.points.shape[1])
        )  # (rows, k, d)
        base = self.points.index_select(0, rows).double().unsqueeze(1)  # (rows, 1, d)
        if self.points.dtype == torch.float64:  # whose squares could leave the range
            return gaps.mul_(self.scale).sub_(base.mul_(self.scale)).square_().sum(dim=2)
        # The scale is a power of two, so the result has the same bits whenever it is multiplied.
        return gaps.sub_(base).square_().sum(dim=2).mul_(self.scale**2)


def make_cloud(points: npt.NDArray[Any], memory_bytes: int, device: torch.device) -> Cloud:
    """Return the points on a device, with the scale and the mean that bring them into [-1, 1]."""
    scale, centre = scale_and_centre(points, memory_bytes)
    blocks = row_blocks(points, memory_bytes)
    radius = max(float(np.abs(points[rows].astype(np.float64) * scale - centre).max()) for rows in blocks)
    zoom = power_of_two_below(radius)
    on_device = torch.from_numpy(points).to(device)
    return Cloud(on_device, scale * zoom, torch.from_numpy(centre * zoom).to(device))


@dataclass(frozen=True)
class Shortlist:
    """The smallest keys found so far for every point, ascending (rows, count), and the columns that they are of."""

    keys: torch.Tensor
    columns: torch.Tensor

    @classmethod
    def empty(cls, rows: int, count: int, dtype: torch.dtype, device: torch.device) -> Shortlist:
        """Return a shortlist with infinite keys only."""
        keys = torch.full((rows, count), math.inf, dtype=dtype, device=device)
        return cls(keys, torch.zeros((rows, count), dtype=torch.int64, device=device))

    def add(self, rows: slice, keys: torch.Tensor, first_column: int) -> None:
        """Keep the smallest of these keys (rows, columns) and those before; columns count from `first_column`."""
        new_keys, new_columns = smallest_keys(keys, self.keys.shape[1])
        both = torch.cat((self.keys[rows], new_keys), dim=1)
        columns = torch.cat((self.columns[rows], new_columns + first_column), dim=1)
        self.keys[rows], chosen = both.topk(self.keys.shape[1], largest=False)
        self.columns[rows] = columns.gather(1, chosen)


@dataclass(frozen=True)
class KeyErrors:
    """How far rounding can move a key, as factors of `nearest_two`'s guarantee.

    Attributes:
        gamma: of `(|x| + |y|)^2 / 2`, for sums.
        underflow: an absolute term.
        roundoff: relative, where the finished key is rounded once more.
    """

    gamma: float
    underflow: float
    roundoff: float = 0.0

    def bound(self, norms: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
        """Return a bound of the key, as computed, of every point nearer than `reach` to one of length `norms`."""
        # |x| + |y| of any such y is at most 2 |x| + reach.
        sums = self.gamma / 2 * (2 * norms + reach).square()
        return (reach.square() / 2 + sums) * (1 + self.roundoff) + self.underflow


def key_errors(columns: int, dtype: torch.dtype, roundoff: float = 0.0) -> KeyErrors:
    """Return the errors of keys that are summed over so many columns of two operands in a type."""
    limits = torch.finfo(dtype)
    mu = (2 * columns + 4) * limits.eps / 2
    return KeyErrors(mu / (1 - mu) if mu < 1 else math.inf, 4 * columns * limits.tiny, roundoff)


@dataclass(frozen=True)
class FirstLook:
    """The smallest keys of some points, and what is known of the errors of keys.

    Attributes:
        shortlist: keys (m, count) and columns (m, count).
        errors: of keys.
        norms: (m,) lengths of the centred points.
        moved: (m,) by how much rounding of the points can lengthen the distance to any other one.
    """

    shortlist: Shortlist
    errors: KeyErrors
    norms: torch.Tensor
    moved: torch.Tensor

    def bound(self, part: slice, squares: torch.Tensor) -> torch.Tensor:
        """Return a bound of the key of every point nearer than `sqrt(squares)` (part,) to the points of a part."""
        return self.errors.bound(self.norms[part], squares.sqrt() + self.moved[part])


def smallest_keys(keys: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `count` smallest of every row of keys (rows, 32 m), and their columns, as topk finds them.

    They lie in the `count` groups of columns whose minima are smallest, so the whole width is read only once, by
    a minimum. Group g of m holds the columns g, g + m, g + 2 m ...; the memory may be by rows or by columns.
    """
    width = keys.shape[1]
    count = min(count, width)
    size = _group_size(width, count)
    groups = width // size
    if keys.stride(0) == 1:
        minima = keys.T.view(size, groups, len(keys)).amin(dim=0).T
    else:
        minima = keys.view(len(keys), size, groups).amin(dim=1)
    chosen = minima.topk(min(count, groups), largest=False, sorted=False).indices
    members = torch.arange(0, width, groups, device=keys.device)
    columns = (chosen.unsqueeze(2) + members).flatten(1)  # (rows, size * count)
    values, ranked = keys.gather(1, columns).topk(count, largest=False)
    return values, columns.gather(1, ranked)


def _group_size(width: int, count: int) -> int:
    """Return how many columns form a group: reading `width / size` minima and `size * count` columns is cheapest."""
    size = GROUP
    while size > 1 and count > FEW and size * size * count > width:
        size //= 2
    return size


def look_plainly(cloud: Cloud, members: torch.Tensor, count: int, memory_bytes: int, dtype: torch.dtype) -> FirstLook:
    """Return the smallest keys in a type of the points `members` (m,), each against all points.

    Args:
        cloud: the points.
        members: rows of the points of interest.
        count: neighbours wanted of each; an eighth more keys are kept, at least two.
        memory_bytes: bound of the working memory.
        dtype: float32 or float64.
    """
    kept = count + max(2, count // 8)
    # A search of all points uses each product for both of its points, so it costs half as much per point.
    if 2 * len(members) > len(cloud.points):
        every = shortlist_all(cloud, kept, memory_bytes, dtype)
        best = Shortlist(every.keys[members], every.columns[members])
    else:
        best = shortlist_rows(cloud, members, kept, memory_bytes, dtype)
    # On a GPU, launches of kernels are what takes time.
    step = 16 * NORM_ROWS if members.is_cuda else NORM_ROWS
    norms = torch.cat([cloud.norms(rows) for rows in torch.split(members, step)])
    return FirstLook(best, key_errors(cloud.points.shape[1] + 2, dtype), norms, torch.zeros_like(norms))


def shortlist_all(cloud: Cloud, count: int, memory_bytes: int, dtype: torch.dtype) -> Shortlist:
    """Return the `count` smallest keys of every point, from one half of the symmetric matrix of keys."""
    n, d = cloud.points.shape
    itemsize = torch.finfo(dtype).bits // 8
    tiles = Tiles.within(memory_bytes, n, itemsize + 1, 2 * d * (itemsize + 12) + 8192, cloud.points.device, dtype)
    best = Shortlist.empty(n, count, dtype, cloud.points.device)
    for rows in tiles.slices(n):
        left = key_operand(cloud, rows, dtype, left=True)
        for columns in tiles.slices(n, start=rows.start):
            keys = tiles.product(left, key_operand(cloud, columns, dtype, left=False))
            if columns == rows:  # a point is not its own neighbour
                keys.diagonal().fill_(math.inf)
            best.add(rows, keys[: len(left)], columns.start)
            if columns != rows:  # the same tile, transposed, serves its columns
                best.add(columns, keys[:, : columns.stop - columns.start].T, rows.start)
    return best


def shortlist_rows(cloud: Cloud, rows: torch.Tensor, count: int, memory_bytes: int, dtype: torch.dtype) -> Shortlist:
    """Return the `count` smallest keys of the points `rows` (m,) alone, (m, count), each against all points."""
    n, d = cloud.points.shape
    itemsize = torch.finfo(dtype).bits // 8
    device = cloud.points.device
    tiles = Tiles.within(memory_bytes, n, itemsize + 1, 2 * d * (itemsize + 12) + 8192, device, dtype)
    best = Shortlist.empty(len(rows), count, dtype, device)
    for few in tiles.slices(len(rows)):
        left = key_operand(cloud, rows[few], dtype, left=True)
        for columns in tiles.slices(n):
            keys = tiles.product(left, key_operand(cloud, columns, dtype, left=False))[: len(left)]
            # A point is not its own neighbour.
            inside = (rows[few] >= columns.start) & (rows[few] < columns.stop)
            keys[inside.nonzero().flatten(), rows[few][inside] - columns.start] = math.inf
            best.add(few, keys, columns.start)
    return best


@dataclass(frozen=True)
class Tiles:
    """The matrix of keys cut into tiles, which are computed one after the other in one buffer."""

    buffer: torch.Tensor

    @classmethod
    def within(
        cls, memory_bytes: int, n: int, cell_bytes: int, row_bytes: int, device: torch.device, dtype: torch.dtype
    ) -> Tiles:
        """Return the widest tiles, t points by t, with `cell_bytes * t^2 + row_bytes * t` within the memory."""
        root = math.sqrt(row_bytes**2 + 4 * cell_bytes * max(memory_bytes, 0))
        widest = min(int((root - row_bytes) / (2 * cell_bytes)), 4096 if device.type == "cuda" else 2048)
        width = max(GROUP, min(widest // GROUP * GROUP, padded(n)))
        return cls(torch.empty((width, width), dtype=dtype, device=device))

    def slices(self, n: int, start: int = 0) -> Iterator[slice]:
        """Return the slices of `start .. n` that are as wide as a tile."""
        width = len(self.buffer)
        return (slice(first, min(first + width, n)) for first in range(start, n, width))

    def product(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Return `left @ right.T`, both sides padded to multiples of 32 by infinite keys."""
        rows, columns = len(left), len(right)
        keys = self.buffer[: padded(rows), : padded(columns)]
        keys[rows:].fill_(math.inf)
        keys[:, columns:].fill_(math.inf)
        out = keys[:rows, :columns]
        if left.is_cuda:
            with _full_float32():
                torch.mm(left, right.T, out=out)
        else:
            np.matmul(left.numpy(), right.numpy().T, out=out.numpy())
        return keys


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    """Keep TF32 and autocast, whatever the user chose, out of products on a GPU: the guarantee counts 24 bits."""
    settings = torch.backends.cuda.matmul
    before = settings.fp32_precision
    settings.fp32_precision = "ieee"
    try:
        with torch.autocast("cuda", enabled=False):
            yield
    finally:
        settings.fp32_precision = before


def padded(length: int) -> int:
    """Return the next multiple of 32."""
    return -(-length // GROUP) * GROUP


def key_operand(cloud: Cloud, rows: slice | torch.Tensor, dtype: torch.dtype, *, left: bool) -> torch.Tensor:
    """Return one side of the product of keys: rows `[-x, |x|^2/2, 1]` (left) or `[y, 1, |y|^2/2]`, (rows, d + 2)."""
    x = cloud.centred(rows)  # (rows, d)
    operand = torch.empty((x.shape[0], x.shape[1] + 2), dtype=dtype, device=x.device)
    half, one = (-2, -1) if left else (-1, -2)
    operand[:, :-2] = x.neg_() if left else x
    operand[:, one] = 1
    operand[:, half] = x.square_().sum(dim=1).mul_(0.5)
    return operand
