"""The two nearest neighbours of every point, exact: a fast search, and a second one for points that it is not sure of.

Letters: n points, d columns, u the unit roundoff of a floating-point type.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from gelora_cli.core.errors import GeloraError
from gelora_cli.geometry.keys import GROUP, SHORTLIST, Cloud, Shortlist, Tiles, key_operand, make_cloud, shortlist_all
from gelora_cli.geometry.points import MEMORY_BYTES, Array, Rows, check_points


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
    return neighbours.r1, neighbours.r2


class Neighbours(NamedTuple):
    """The two nearest neighbours of every point: distances r1 <= r2, (n,) each, and rows (n, 2)."""

    r1: Array
    r2: Array
    indices: Rows

    @property
    def mu(self) -> Array:
        """The ratios `r2 / r1`, (n,)."""
        return self.r2 / self.r1


def find_neighbours(points: npt.NDArray[Any], memory_bytes: int, device: torch.device) -> Neighbours:
    """Return the two nearest neighbours of points that `check_points` has returned.

    Raises:
        GeloraError: fewer than 3 points.
    """
    if len(points) < 3:
        raise GeloraError(f"{len(points)} points given; two nearest neighbours need at least 3 points.")
    cloud = make_cloud(points, memory_bytes, device)
    with _one_torch_thread():
        best = shortlist_all(cloud, memory_bytes, torch.float64 if device.type == "cuda" else torch.float32)
        squares, indices, is_sure = _recompute_shortlist(cloud, best, memory_bytes)
        _search_again(cloud, (~is_sure).nonzero().flatten(), squares, indices, memory_bytes)
    # The scale is a power of two, so dividing by it rounds nothing.
    r1, r2 = (squares.sqrt() / cloud.scale).cpu().numpy().T
    return Neighbours(np.ascontiguousarray(r1), np.ascontiguousarray(r2), indices.cpu().numpy())


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
    cloud: Cloud, best: Shortlist, memory_bytes: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the two smallest squared distances of the shortlist (n, 2), their rows (n, 2), and which are sure (n,)."""
    n, d = cloud.points.shape
    squares = torch.empty((n, 2), dtype=torch.float64, device=cloud.points.device)
    indices = torch.empty((n, 2), dtype=torch.int64, device=cloud.points.device)
    is_sure = torch.empty(n, dtype=torch.bool, device=cloud.points.device)
    step = max(1, min(256, memory_bytes // (32 * d * (SHORTLIST + 2))))
    for rows in torch.split(torch.arange(n, device=cloud.points.device), step):
        keys, columns = best.keys[rows], best.columns[rows].clamp_(max=n - 1)
        # An infinite key is an empty place of the shortlist, or padding of a tile; its column means nothing.
        exact = cloud.squares(rows, columns).masked_fill_(keys.isinf(), math.inf)  # (rows, 4)
        squares[rows], nearest = exact.topk(2, largest=False)
        indices[rows] = columns.gather(1, nearest)
        # No point outside the shortlist has a key below its last one.
        is_sure[rows] = keys[:, -1] >= _key_bound(cloud, rows, squares[rows, 1], keys.dtype)
    return squares, indices, is_sure


def _key_bound(cloud: Cloud, rows: torch.Tensor, square: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a bound (rows,) of the key in `dtype` of every point nearer than `sqrt(square)`, see `nearest_two`."""
    d, limits = cloud.points.shape[1], torch.finfo(dtype)
    mu = (2 * d + 8) * limits.eps / 2
    gamma = mu / (1 - mu) if mu < 1 else math.inf
    # |x| + |y| of any y nearer than r2, bounded by 2 |x| + r2.
    reach = 2 * cloud.centred(rows).square_().sum(dim=1).sqrt_() + square.sqrt()
    return square / 2 + gamma / 2 * reach.square() + 4 * (d + 2) * limits.tiny


def _search_again(
    cloud: Cloud, rows: torch.Tensor, squares: torch.Tensor, indices: torch.Tensor, memory_bytes: int
) -> None:
    """Replace `squares` and `indices` of the rows by those over all points whose float64 key is below the bound."""
    n, d = cloud.points.shape
    dtype, device = torch.float64, cloud.points.device
    tiles = Tiles.within(memory_bytes // 2, n, 64, 64 * d + 8192, device, dtype)
    for part in torch.split(rows, len(tiles.buffer)):
        left, bound = key_operand(cloud, part, dtype, left=True), _key_bound(cloud, part, squares[part, 1], dtype)
        best = Shortlist.empty(len(part), 2, dtype, device)
        for columns in tiles.slices(n):
            keys = tiles.product(left, key_operand(cloud, columns, dtype, left=False))[: len(part)]
            # A point is not its own neighbour, though its key is the smallest.
            other = part.unsqueeze(1) != torch.arange(columns.start, columns.start + keys.shape[1], device=device)
            a, b = (other & (keys <= bound.unsqueeze(1))).nonzero(as_tuple=True)
            keys.fill_(math.inf)  # from here on the buffer holds exact squared distances of the candidates alone
            for chunk in torch.split(torch.arange(len(a), device=device), max(GROUP, memory_bytes // (64 * d))):
                pair = a[chunk], b[chunk]
                keys[pair] = cloud.squares(part[pair[0]], (pair[1] + columns.start).unsqueeze(1)).squeeze(1)
            best.add(slice(None), keys, columns.start)
        squares[part], indices[part] = best.keys, best.columns
