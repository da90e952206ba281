"""The nearest neighbours of every point, exact: a fast search, and a second one for points that it is not sure of.

Letters: n points, d columns, u the unit roundoff of a floating-point type.
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

from gelora_cli.core.errors import GeloraError
from gelora_cli.geometry.keys import (
    GROUP,
    Cloud,
    Shortlist,
    Tiles,
    key_operand,
    make_cloud,
    shortlist_all,
    shortlist_rows,
)
from gelora_cli.geometry.points import MEMORY_BYTES, Array, Rows, check_points

GAPS = 2**18
"""Float64 differences of coordinates that are in work at once: 2 MiB, which stay in the caches."""


def nearest_two(
    points: npt.NDArray[Any], *, memory_bytes: int = MEMORY_BYTES, device: str = "cpu"
) -> tuple[Array, Array]:
    """Return the exact Euclidean distances `(r1, r2)`, (n,) float64 each, of every point to its two nearest neighbours.

    The first look takes all pairs, in tiles that each serve their rows and their columns. With x, y centred on the mean
    and scaled by a power of two, the key `|x|^2/2 + |y|^2/2 - x.y` of half the squared distance is one matrix product
    of d + 2 columns in float32 (float64 on CUDA), and the four smallest keys of every point are kept. Their distances
    are then recomputed in float64 from differences of the points as given, so `r1`, `r2` are exact to rounding
    whenever the true neighbours are among the four.

    Guarantee: rounding x, y and the halves to the type and summing d + 2 products, in whatever order, errs by at most
    `gamma * (|x| + |y|)^2 / 2` with `gamma = m u / (1 - m u)`, `m = 2 d + 8` (Higham, Accuracy and Stability of
    Numerical Algorithms, lemma 3.1 and section 3.5), plus `4 (d + 2)` times the smallest normal number for
    underflow. Let r2 be the second distance found, K the fourth key. A missed y nearer than r2 would have
    `|y| < |x| + r2`, so a key below `r2^2/2 + gamma * (2 |x| + r2)^2 / 2` (plus the underflow), and at least K. Where
    K is not below that bound, nothing is missed. For all other points a second look takes keys in float64 against all
    points and recomputes the distance to each one below the bound at float64's u: in the worst case a full scan.

    Float32 products run in numpy, float64 ones on CUDA: torch's settings of TF32, reduced precision and autocast
    act on neither, and none is changed.

    Args:
        points: (n, d) with n >= 3, finite.
        memory_bytes: bound of the working memory, besides the points (copied to the device) and O(n); the smallest
            tile, 32 points by 32, is always allowed.
        device: `cpu`, `cuda` or `cuda:<index>`.

    Raises:
        GeloraError: fewer than 3 points; no (n, d) array of real numbers; not finite; another device.
    """
    neighbours = find_neighbours(check_points(points, memory_bytes), memory_bytes, torch_device(device))
    return np.ascontiguousarray(neighbours.distances[:, 0]), np.ascontiguousarray(neighbours.distances[:, 1])


@dataclass(frozen=True)
class Neighbours:
    """The k nearest neighbours of every point: distances (n, k), ascending, and rows (n, k)."""

    distances: Array
    indices: Rows

    @property
    def mu(self) -> Array:
        """The ratios `r2 / r1`, (n,)."""
        return self.ratios(1, 2)

    def ratios(self, near: int, far: int) -> Array:
        """Return `r_far / r_near`, (n,)."""
        return self.distances[:, far - 1] / self.distances[:, near - 1]


def find_neighbours(
    points: npt.NDArray[Any], memory_bytes: int, device: torch.device, *, count: int = 2, rows: Rows | None = None
) -> Neighbours:
    """Return the `count` nearest neighbours of points that `check_points` has returned, as exactly as `nearest_two`.

    What holds for r2 and the fourth key there holds here for the last distance and the last key. The distances of a
    smaller `count` are the first of a larger one, bit by bit; which of equally near points is named may differ.

    Args:
        points: (n, d).
        memory_bytes: see `nearest_two`; O(n * count) comes on top.
        device: where to search.
        count: how many neighbours, fewer than n.
        rows: (m,) the points whose neighbours are wanted; all of them where it is None.

    Raises:
        GeloraError: too few points.
    """
    if len(points) <= count:
        number = "two" if count == 2 else count
        raise GeloraError(f"{len(points)} points given; {number} nearest neighbours need at least {count + 1} points.")
    cloud = make_cloud(points, memory_bytes, device)
    dtype = torch.float64 if device.type == "cuda" else torch.float32
    kept = count + max(2, count // 8)
    with _one_torch_thread():
        if rows is None:
            members = torch.arange(len(points), device=device)
            best = shortlist_all(cloud, kept, memory_bytes, dtype)
        else:
            members = torch.from_numpy(rows).to(device)
            best = shortlist_rows(cloud, members, kept, memory_bytes, dtype)
        squares, indices, is_sure = _recompute_shortlist(cloud, members, best, count, memory_bytes)
        _search_again(cloud, members, (~is_sure).nonzero().flatten(), squares, indices, memory_bytes)
    # The scale is a power of two, so dividing by it rounds nothing.
    return Neighbours((squares.sqrt() / cloud.scale).cpu().numpy(), indices.cpu().numpy())


def torch_device(name: str) -> torch.device:
    """Return the device of this name.

    Raises:
        GeloraError: this machine has none.
    """
    kind, _, index = name.partition(":")
    known = name == "cpu" or (kind == "cuda" and (index.isdigit() or name == "cuda"))
    if not known or (kind == "cuda" and int(index or 0) >= torch.cuda.device_count()):
        raise GeloraError(
            f"Device {name!r} given; cpu and, on this machine's {torch.cuda.device_count()} CUDA devices, cuda and "
            "cuda:<index> are accepted."
        )
    return torch.device(name)


@contextlib.contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Keep torch's threads from waiting for cores that numpy's products or other processes hold."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _recompute_shortlist(
    cloud: Cloud, members: torch.Tensor, best: Shortlist, count: int, memory_bytes: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the `count` smallest squared distances of the shortlist (m, count), their rows, and which are sure (m,).

    `members` (m,) are the points that the rows of the shortlist belong to.
    """
    n, d = cloud.points.shape
    device, kept = cloud.points.device, best.keys.shape[1]
    squares = torch.empty((len(members), count), dtype=torch.float64, device=device)
    indices = torch.empty((len(members), count), dtype=torch.int64, device=device)
    is_sure = torch.empty(len(members), dtype=torch.bool, device=device)
    step = max(1, min(256, memory_bytes // (32 * d * (kept + 2)), GAPS // (d * kept)))
    for part in torch.split(torch.arange(len(members), device=device), step):
        keys, columns = best.keys[part], best.columns[part].clamp_(max=n - 1)
        # An infinite key is an empty place of the shortlist, or padding of a tile; its column means nothing.
        exact = cloud.squares(members[part], columns).masked_fill_(keys.isinf(), math.inf)  # (part, kept)
        squares[part], nearest = exact.topk(count, largest=False)
        indices[part] = columns.gather(1, nearest)
        # No point outside the shortlist has a key below its last one.
        is_sure[part] = keys[:, -1] >= _key_bound(cloud, members[part], squares[part, -1], keys.dtype)
    return squares, indices, is_sure


def _key_bound(cloud: Cloud, rows: torch.Tensor, square: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a bound (rows,) of the key in `dtype` of every point nearer than `sqrt(square)`, see `nearest_two`."""
    d, limits = cloud.points.shape[1], torch.finfo(dtype)
    mu = (2 * d + 8) * limits.eps / 2
    gamma = mu / (1 - mu) if mu < 1 else math.inf
    # |x| + |y| of any y nearer than the farthest neighbour found, bounded by 2 |x| + its distance.
    reach = 2 * cloud.centred(rows).square_().sum(dim=1).sqrt_() + square.sqrt()
    return square / 2 + gamma / 2 * reach.square() + 4 * (d + 2) * limits.tiny


def _search_again(
    cloud: Cloud,
    members: torch.Tensor,
    unsure: torch.Tensor,
    squares: torch.Tensor,
    indices: torch.Tensor,
    memory_bytes: int,
) -> None:
    """Replace `squares` and `indices` where unsure by those over all points whose float64 key is below the bound."""
    n, d = cloud.points.shape
    dtype, device = torch.float64, cloud.points.device
    tiles = Tiles.within(memory_bytes // 2, n, 64, 64 * d + 8192, device, dtype)
    for part in torch.split(unsure, len(tiles.buffer)):
        rows = members[part]
        left, bound = key_operand(cloud, rows, dtype, left=True), _key_bound(cloud, rows, squares[part, -1], dtype)
        best = Shortlist.empty(len(part), squares.shape[1], dtype, device)
        for columns in tiles.slices(n):
            keys = tiles.product(left, key_operand(cloud, columns, dtype, left=False))[: len(part)]
            # A point is not its own neighbour, though its key is the smallest.
            other = rows.unsqueeze(1) != torch.arange(columns.start, columns.start + keys.shape[1], device=device)
            a, b = (other & (keys <= bound.unsqueeze(1))).nonzero(as_tuple=True)
            keys.fill_(math.inf)  # from here on the buffer holds exact squared distances of the candidates alone
            for chunk in torch.split(torch.arange(len(a), device=device), max(GROUP, memory_bytes // (64 * d))):
                pair = a[chunk], b[chunk]
                keys[pair] = cloud.squares(rows[pair[0]], (pair[1] + columns.start).unsqueeze(1)).squeeze(1)
            best.add(slice(None), keys, columns.start)
        squares[part], indices[part] = best.keys, best.columns
