"""The nearest neighbours of every point, exact: a fast search, and a second one for points that it is not sure of.

Letters: n points, d columns, u the unit roundoff of a floating-point type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gelora_cli.core.errors import GeloraError
from gelora_cli.geometry.keys import (
    GROUP,
    Cloud,
    FirstLook,
    Shortlist,
    Tiles,
    key_errors,
    key_operand,
    look_plainly,
    make_cloud,
)
from gelora_cli.geometry.points import MEMORY_BYTES, Array, Rows, check_points
from gelora_cli.geometry.rough_keys import look_roughly, suits_rough_keys
from gelora_cli.geometry.workers import row_workers

GAPS = 2**16
"""Float64 differences of coordinates that a CPU works on at once: half a MiB, which stays in a core's cache."""
FEW_UNSURE = 64
"""So few points go from a look in bfloat16 to one in float64 without one in float32 between."""
RECOMPUTED_ROWS = 1024
"""Points whose shortlists a CPU recomputes at once."""


def nearest_two(
    points: npt.NDArray[Any], *, memory_bytes: int = MEMORY_BYTES, device: str = "cpu"
) -> tuple[Array, Array]:
    """Return the exact Euclidean distances `(r1, r2)`, (n,) float64 each, of every point to its two nearest neighbours.

    The first look takes all pairs, in tiles that each serve their rows and their columns. With x, y centred on the mean
    and scaled by a power of two, the key `|x|^2/2 + |y|^2/2 - x.y` of half the squared distance is one matrix product
    of d + 2 columns in float32, and the four smallest keys of every point are kept. Their distances are then recomputed
    in float64 from differences of the points as given, so `r1`, `r2` are exact to rounding whenever the true neighbours
    are among the four.

    Guarantee: rounding x, y and the halves to the type and summing d + 2 products, in whatever order, errs by at most
    `gamma * (|x| + |y|)^2 / 2` with `gamma = m u / (1 - m u)`, `m = 2 d + 8` (Higham, Accuracy and Stability of
    Numerical Algorithms, lemma 3.1 and section 3.5), plus `4 (d + 2)` times the smallest normal number for
    underflow. Let r2 be the second distance found, K the fourth key. A missed y nearer than r2 would have
    `|y| < |x| + r2`, so a key below `r2^2/2 + gamma * (2 |x| + r2)^2 / 2` (plus the underflow), and at least K. Where
    K is not below that bound, nothing is missed. For all other points a last look takes keys in float64 against all
    points and recomputes the distance to each one below the bound at float64's u: in the worst case a full scan.

    On a CPU with matrix units for bfloat16, a look in that type comes before (`look_roughly`), with a bound of its own;
    float32 serves those that it is unsure of. The results have the same bits with and without it.

    Float32 products run in numpy on the CPU, and on CUDA with TF32 and autocast switched off meanwhile, so torch's
    settings change nothing.

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

    def ratios(self, near: int, far: int) -> Array:
        """Return `r_far / r_near`, (n,)."""
        return self.distances[:, far - 1] / self.distances[:, near - 1]


def find_neighbours(
    points: npt.NDArray[Any],
    memory_bytes: int,
    device: torch.device,
    *,
    count: int = 2,
    rows: Rows | None = None,
    roughly: bool = True,
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
        roughly: whether to look in bfloat16 first where that is fast. It changes no distance; among equally near
            points it may name others.

    Raises:
        GeloraError: too few points.
    """
    if len(points) <= count:
        number = "two" if count == 2 else count
        raise GeloraError(f"{len(points)} points given; {number} nearest neighbours need at least {count + 1} points.")
    cloud = make_cloud(points, memory_bytes, device)
    members = torch.arange(len(points), device=device) if rows is None else torch.from_numpy(rows).to(device)
    squares = torch.empty((len(members), count), dtype=torch.float64, device=device)
    indices = torch.empty((len(members), count), dtype=torch.int64, device=device)
    unsure = torch.arange(len(members), device=device)
    with row_workers() as workers:
        for look in _first_looks(cloud, count, memory_bytes, workers, roughly=roughly):
            if len(unsure) > FEW_UNSURE or len(unsure) == len(members):
                found = _recompute_shortlist(
                    cloud, members[unsure], look(members[unsure]), count, memory_bytes, workers
                )
                squares[unsure], indices[unsure], is_sure = found
                unsure = unsure[~is_sure]
        _search_again(cloud, members, unsure, squares, indices, memory_bytes)
    # The scale is a power of two, so dividing by it rounds nothing.
    return Neighbours((squares.sqrt() / cloud.scale).cpu().numpy(), indices.cpu().numpy())


def _first_looks(
    cloud: Cloud, count: int, memory_bytes: int, workers: Executor, *, roughly: bool
) -> list[Callable[[torch.Tensor], FirstLook]]:
    """Return the looks at rows of points, each more exact than the one before and for points that it is unsure of."""
    looks: list[Callable[[torch.Tensor], FirstLook]] = []
    if roughly and suits_rough_keys(cloud, count, memory_bytes):
        looks.append(lambda rows: look_roughly(cloud, rows, count, memory_bytes, workers))
    looks.append(lambda rows: look_plainly(cloud, rows, count, memory_bytes, torch.float32))
    return looks


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


def _recompute_shortlist(
    cloud: Cloud, members: torch.Tensor, look: FirstLook, count: int, memory_bytes: int, workers: Executor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the `count` smallest squared distances of the shortlist (m, count), their rows, and which are sure (m,).

    `members` (m,) are the points that the rows of the shortlist belong to.
    """
    d, kept = cloud.points.shape[1], look.shortlist.keys.shape[1]
    # On a GPU fewer steps mean fewer kernels, whose launches are what takes time.
    most = len(members) if cloud.points.is_cuda else RECOMPUTED_ROWS
    step = max(1, min(most, memory_bytes // (32 * d * (kept + 2))))
    parts = [slice(start, start + step) for start in range(0, len(members), step)]

    def recompute(part: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        keys, columns = look.shortlist.keys[part], look.shortlist.columns[part]
        exact = _exact_squares(cloud, members[part], look, part, count)  # (part, kept)
        squares, nearest = exact.topk(count, largest=False)
        # No point outside the shortlist has a key below its last one.
        return squares, columns.gather(1, nearest), keys[:, -1] >= look.bound(part, squares[:, -1])

    results = list(map(recompute, parts) if cloud.points.is_cuda else workers.map(recompute, parts))
    squares, indices, is_sure = (torch.cat(column) for column in zip(*results, strict=True))
    return squares, indices, is_sure


def _exact_squares(cloud: Cloud, rows: torch.Tensor, look: FirstLook, part: slice, count: int) -> torch.Tensor:
    """Return exact squared distances (rows, kept) of a part of the shortlist, infinite where they can't be among
    the `count` smallest.
    """
    keys = look.shortlist.keys[part]
    # An infinite key is an empty place of the shortlist, or padding of a tile; its column means nothing.
    columns = look.shortlist.columns[part].clamp(max=len(cloud.points) - 1)
    if cloud.points.is_cuda:  # which would wait to learn how many pairs are left
        return cloud.squares(rows, columns).masked_fill_(keys.isinf(), math.inf)
    exact = torch.full_like(keys, math.inf, dtype=torch.float64)
    nearest = [cloud.squares(some, few) for some, few in _cut(cloud, rows, columns[:, :count])]
    exact[:, :count] = torch.cat(nearest).masked_fill_(keys[:, :count].isinf(), math.inf)
    # The farthest of those with the smallest keys bounds the distance of the last neighbour from above.
    bound = look.bound(part, exact[:, :count].amax(dim=1))
    a, b = ((keys[:, count:] <= bound.unsqueeze(1)) & ~keys[:, count:].isinf()).nonzero(as_tuple=True)
    b += count
    if len(a):
        pairs = [cloud.squares(some, few) for some, few in _cut(cloud, rows[a], columns[a, b].unsqueeze(1))]
        exact[a, b] = torch.cat(pairs).squeeze(1)
    return exact


def _cut(cloud: Cloud, rows: torch.Tensor, columns: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield rows and columns in parts whose differences stay in a core's cache."""
    step = max(1, GAPS // (cloud.points.shape[1] * columns.shape[1]))
    return zip(torch.split(rows, step), torch.split(columns, step), strict=True)


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
        left = key_operand(cloud, rows, dtype, left=True)
        bound = key_errors(d + 2, dtype).bound(cloud.norms(rows), squares[part, -1].sqrt())
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
