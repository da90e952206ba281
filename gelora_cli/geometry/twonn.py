"""Intrinsic dimension (idim) by TwoNN: an array of points in, a number with an error bar out.

Facco, d'Errico, Rodriguez and Laio, "Estimating the intrinsic dimension of datasets by a minimal neighborhood
information", Scientific Reports 7, 12140 (2017). With the distances `r1 <= r2` of a point to its two nearest
neighbours, `mu = r2 / r1` follows a Pareto law, `P(mu <= m) = 1 - m ** -idim`, whatever the density.

Letters: n points, d columns, u the unit roundoff of a floating-point type.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from gelora_cli.core.errors import GeloraError

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

MIN_POINTS = 20
MEMORY_BYTES = 256 * 2**20
CONSTANT_SPREAD = 1e-5  # of the mean norm
COPY_TOLERANCE = 1e-5  # of the mean norm
COPY_SPACING = 2e-3  # of the distance from a state to the next one that is no copy of it
GRID_LOG_MU = 1e-4  # nine tenths of log mu below it would be an idim above 20,000

_SHORTLIST = 4
_GROUP = 32
_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class IdimEstimate:
    """An intrinsic dimension with its 95 % interval `low .. high`.

    `half` and `quarter` are the means of the estimates over the two and the four disjoint parts of the used points
    (None where a part would have fewer than 20). `points` were given, `copies` of them collapsed, `used` are left.
    `constant` states have idim 0 by definition, interval [0, 0]; no copies are looked for among them.
    """

    idim: float
    low: float
    high: float
    half: float | None
    quarter: float | None
    points: int
    copies: int
    used: int
    constant: bool


def estimate_idim(
    points: npt.NDArray[Any],
    *,
    estimator: str = "fit",
    discard: float = 0.1,
    seed: int = 0,
    memory_bytes: int = MEMORY_BYTES,
    device: str = "cpu",
) -> IdimEstimate:
    """Estimates the intrinsic dimension of points by TwoNN.

    Constant states are decided first: total spread `sqrt(mean |x - mean x|^2)` at most 1e-5 of the mean norm.
    Then copies are collapsed (`collapse_copies`), the two nearest neighbours found (`nearest_two`), and idim
    estimated from `mu`.

    The interval is a grouped jackknife. With `psi_i` the influence of point i on the estimate,
    `variance = (sum_i psi_i^2 + max(0, sum_{i ~ j} psi_i psi_j)) / n^2`, the second sum over the ordered pairs of
    which one point is among the other's two nearest neighbours: their `mu` depend on each other, and without it the
    interval is 1.1 to 1.35 times too short. The interval is `idim * exp(+-1.96 * sqrt(variance) / idim)`. It is
    meant for the estimator's expectation at this number of points, not for its bias, which `half` and `quarter`
    show. Of 1,000 draws from each of two cubes, two spheres, two Gaussians and a Swiss roll it covered that in 94 to
    96 % at 400 points, in 91 to 94 % at 100 (92 % of 3,000 draws from a 2-sphere), in 89 to 93 % at 40 and in 86 to
    90 % at 20 (`scripts/idim_coverage.py`).

    Args:
        points: (n, d), real numbers.
        estimator: `fit` or `mle`, see the functions of these names.
        discard: share of the largest `mu` that the estimator discards.
        seed: of the permutation that makes the disjoint parts.
        memory_bytes: working memory, see `nearest_two`. Beside it the used points are copied once.
        device: where neighbours are searched: `cpu`, `cuda` or `cuda:<index>`.

    Raises:
        GeloraError: unknown estimator or device; `discard` outside [0, 1); points that are no (n, d) array of real
            numbers or not finite; fewer than 20 usable points; a grid (all `mu` are 1).
    """
    chosen = _estimator(estimator)
    _check_discard(discard)
    place = _device(device)
    points = _checked(points, memory_bytes)
    if _is_constant(points, memory_bytes):
        return _constant_estimate(len(points))
    kept = collapse_copies(points, memory_bytes=memory_bytes)
    _check_enough(len(points), len(kept))
    used = points if len(kept) == len(points) else points[kept]
    found = _search(used, memory_bytes, place)
    idim = chosen.estimate(found.mu, discard=discard)
    low, high = _interval(idim, chosen.influence(np.log(found.mu), idim, discard), found.indices)

    def at_size(part: Rows) -> float:
        r1, r2 = nearest_two(used[part], memory_bytes=memory_bytes, device=device)
        return chosen.estimate(r2 / r1, discard=discard)

    order = np.random.default_rng(seed).permutation(len(used))
    half, quarter = _mean_over_parts(at_size, order, 2), _mean_over_parts(at_size, order, 4)
    copies = len(points) - len(used)
    return IdimEstimate(idim, low, high, half, quarter, len(points), copies, len(used), constant=False)


class _Estimator(NamedTuple):
    """An estimate from mu, and the influence of every log mu on it: (log_mu, idim, discard) -> (n,)."""

    estimate: Callable[..., float]
    influence: Callable[[Array, float, float], Array]


def _estimator(name: str) -> _Estimator:
    estimators = {"fit": _Estimator(fit, _fit_influence), "mle": _Estimator(mle, _mle_influence)}
    if name not in estimators:
        raise GeloraError(f"Estimator {name!r} given; {', '.join(estimators)} are accepted.")
    return estimators[name]


def _check_discard(discard: float) -> None:
    if not 0 <= discard < 1:
        raise GeloraError(f"discard={discard} given; a share from 0 up to, but not including, 1 is accepted.")


def _device(name: str) -> torch.device:
    kind, _, index = name.partition(":")
    known = name == "cpu" or (kind == "cuda" and (index.isdigit() or name == "cuda"))
    if not known or (kind == "cuda" and int(index or 0) >= torch.cuda.device_count()):
        raise GeloraError(
            f"Device {name!r} given; cpu and, on this machine's {torch.cuda.device_count()} CUDA devices, cuda and "
            "cuda:<index> are accepted."
        )
    return torch.device(name)


def _checked(points: npt.NDArray[Any], memory_bytes: int) -> npt.NDArray[Any]:
    """The points as a C-contiguous (n, d) array of float16, float32 or float64, all finite."""
    array = np.asarray(points)
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "fiub":
        raise GeloraError(
            f"Points of shape {array.shape} and type {array.dtype} given; (points, columns) of real numbers accepted."
        )
    dtype = array.dtype.newbyteorder("=") if array.dtype.kind == "f" and array.dtype.itemsize <= 8 else np.float64
    array = np.require(array, dtype, ["C_CONTIGUOUS", "WRITEABLE"])
    bad = [(~np.isfinite(array[rows])).sum(axis=1) for rows in _row_blocks(array, memory_bytes)]
    counts = np.concatenate([np.zeros(0, np.int64), *bad])
    if counts.any():
        raise GeloraError(
            f"{counts.sum()} values in {np.count_nonzero(counts)} of {len(array)} points are not finite; "
            "only finite values are accepted. Look for overflow in half precision, or use float32."
        )
    return array


def _row_blocks(points: npt.NDArray[Any], memory_bytes: int) -> Iterator[slice]:
    """Slices over the rows, each of at most an eighth of the memory (and 4 MiB) as float64."""
    rows = max(1, min(memory_bytes // 8, 4 * 2**20) // (8 * points.shape[1]))
    return (slice(start, min(start + rows, len(points))) for start in range(0, len(points), rows))


def _is_constant(points: npt.NDArray[Any], memory_bytes: int) -> bool:
    if len(points) < 2:
        return False
    scale, centre = _scale_and_centre(points, memory_bytes)
    squares, norms = 0.0, 0.0
    for rows in _row_blocks(points, memory_bytes):
        block = points[rows].astype(np.float64) * scale
        norms += float(np.linalg.norm(block, axis=1).sum())
        squares += float(np.square(block - centre).sum())
    return math.sqrt(squares / len(points)) <= CONSTANT_SPREAD * norms / len(points)


def _scale_and_centre(points: npt.NDArray[Any], memory_bytes: int) -> tuple[float, Array]:
    """A power of two that brings all values into [-1, 1], and the mean (d,) of the points times it."""
    largest = max((float(np.abs(points[rows]).max()) for rows in _row_blocks(points, memory_bytes)), default=0.0)
    scale = _power_of_two_below(largest)
    total = np.zeros(points.shape[1])
    for rows in _row_blocks(points, memory_bytes):
        total += (points[rows].astype(np.float64) * scale).sum(axis=0)
    return scale, total / len(points)


def _power_of_two_below(largest: float) -> float:
    """A power of two p with p * largest in [0.5, 1), or as near as two such powers multiplied stay in range."""
    return math.ldexp(1.0, max(-1000, min(-math.frexp(largest)[1], 900)))


def _constant_estimate(points: int) -> IdimEstimate:
    half, quarter = (0.0 if points // parts >= MIN_POINTS else None for parts in (2, 4))
    return IdimEstimate(0.0, 0.0, 0.0, half, quarter, points, 0, points, constant=True)


def collapse_copies(
    points: npt.NDArray[Any], *, tolerance: float = COPY_TOLERANCE, memory_bytes: int = MEMORY_BYTES
) -> Rows:
    """Rows (ascending) that are left when every set of copies is replaced by its first row.

    Two points are copies when their distance is at most `limit = min(tolerance * norm, spacing / 500)`. `norm` is
    the mean norm of the points as given, not of the centred ones: rounding in a forward pass follows the size of the
    states. `spacing` is the median distance of 64 points to their nearest neighbour farther than `tolerance * norm`;
    it keeps distinct points of dense sets, of which about `500 ** -idim` are collapsed (without it a line of 10,000
    points reads 1.16). Float32 states of equal sentences in differently padded batches were up to 1.2e-6 of the norm
    apart after six blocks of MiniLM, distinct ones at least 1e-4: the default 1e-5 lies between.

    Copies of copies are copies (the connected components of the pairs), so the sets don't depend on the order of the
    rows, only the representatives do. Near pairs are neighbours in the order of a fixed random projection, which can
    only shorten distances: O(n d) time and O(n) memory unless many points project onto each other.

    Args:
        points: (n, d), finite.
        tolerance: relative to the mean norm; 0 collapses exact copies only.
        memory_bytes: working memory beside O(n).

    Raises:
        GeloraError: a negative tolerance; points that are no (n, d) array of real numbers or not finite.
    """
    if not tolerance >= 0:
        raise GeloraError(f"tolerance={tolerance} given; a number from 0 up is accepted.")
    points = _checked(points, memory_bytes)
    if len(points) < 2:
        return np.arange(len(points))
    scale, _ = _scale_and_centre(points, memory_bytes)
    projections, norms = _project(points, scale, memory_bytes)
    order = np.argsort(projections[:, 0], kind="stable")
    limit = tolerance * float(norms.mean())
    sample = order[np.linspace(0, len(points) - 1, min(64, len(points))).astype(np.int64)]
    limit = min(limit, COPY_SPACING * _spacing(points, scale, sample, limit, memory_bytes))
    blur = 8 * (points.shape[1] + 2) * 2.0**-53 * float(norms.max())
    near = _Near(points, scale, projections, limit, limit + blur, memory_bytes)
    first = _first_copies(near, order)
    return np.flatnonzero(first == np.arange(len(points)))


def _project(points: npt.NDArray[Any], scale: float, memory_bytes: int) -> tuple[Array, Array]:
    """Scaled points on eight fixed directions of length 1 (n, 8), and their norms (n,)."""
    directions = np.random.default_rng(0).standard_normal((points.shape[1], 8))
    directions /= np.linalg.norm(directions, axis=0)
    projections, norms = np.empty((len(points), 8)), np.empty(len(points))
    for rows in _row_blocks(points, memory_bytes):
        block = points[rows].astype(np.float64) * scale
        projections[rows], norms[rows] = block @ directions, np.linalg.norm(block, axis=1)
    return projections, norms


def _spacing(points: npt.NDArray[Any], scale: float, sample: Rows, beyond: float, memory_bytes: int) -> float:
    """Median over the sample of the distance (scaled) to the nearest point farther than `beyond`."""
    picked = points[sample].astype(np.float64) * scale
    nearest = np.full(len(sample), np.inf)
    for rows in _row_blocks(points, memory_bytes):
        block = points[rows].astype(np.float64) * scale
        squares = np.square(picked).sum(axis=1)[:, None] + np.square(block).sum(axis=1) - 2 * picked @ block.T
        squares[squares <= beyond**2] = np.inf
        np.minimum(nearest, squares.min(axis=1), out=nearest)
    return math.sqrt(float(np.median(nearest)))


@dataclass(frozen=True)
class _Near:
    """Decides which pairs of rows are at most `limit` (scaled) apart; `window` bounds it in the projections."""

    points: npt.NDArray[Any]
    scale: float
    projections: Array
    limit: float
    window: float
    memory_bytes: int

    def pairs(self, a: Rows, b: Rows) -> npt.NDArray[np.bool_]:
        near: npt.NDArray[np.bool_] = (
            np.abs(self.projections[a] - self.projections[b]).max(axis=1, initial=0) <= self.window
        )
        candidates = np.flatnonzero(near)
        step = max(1, self.memory_bytes // (48 * self.points.shape[1]))
        for start in range(0, len(candidates), step):
            part = candidates[start : start + step]
            gap = self.points[a[part]].astype(np.float64) * self.scale
            gap -= self.points[b[part]].astype(np.float64) * self.scale
            near[part] = np.linalg.norm(gap, axis=1) <= self.limit
        return near


def _first_copies(near: _Near, order: Rows) -> Rows:
    """For every row the first row of its connected component."""
    projected = near.projections[order, 0]
    first = np.arange(len(order))
    left = np.arange(len(order) - 1)
    offset = 0
    while len(left):
        offset += 1
        left = left[left + offset < len(order)]
        left = left[projected[left + offset] - projected[left] <= near.window]
        a, b = order[left], order[left + offset]
        apart = first[a] != first[b]
        a, b = a[apart], b[apart]
        linked = near.pairs(a, b)
        first = _join(first, a[linked], b[linked])
    return first


def _join(first: Rows, a: Rows, b: Rows) -> Rows:
    """The components `first` once the rows a[i] and b[i] are linked."""
    while np.any(first[a] != first[b]):
        np.minimum.at(first, np.maximum(first[a], first[b]), np.minimum(first[a], first[b]))
        while np.any(first[first] != first):
            first = first[first]
    return first


def _check_enough(given: int, used: int) -> None:
    if used < MIN_POINTS:
        raise GeloraError(
            f"{used} usable points ({given} given, {given - used} of them copies); TwoNN needs at least {MIN_POINTS} "
            "distinct points. Use more examples."
        )


def nearest_two(
    points: npt.NDArray[Any], *, memory_bytes: int = MEMORY_BYTES, device: str = "cpu"
) -> tuple[Array, Array]:
    """Exact Euclidean distances `(r1, r2)`, (n,) float64 each, of every point to its two nearest neighbours.

    First look, all pairs, in tiles that each serve their rows and their columns: with x, y centred on the mean and
    scaled by a power of two, the key `|x|^2/2 + |y|^2/2 - x.y` of half the squared distance is one matrix product of
    d + 2 columns in float32 (float64 on CUDA), and the four smallest keys of every point are kept. Their distances
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
        memory_bytes: bound of the working memory, beside the points (copied to the device) and O(n); the smallest
            tile, 32 points by 32, is always allowed.
        device: `cpu`, `cuda` or `cuda:<index>`.

    Raises:
        GeloraError: fewer than 3 points; no (n, d) array of real numbers; not finite; another device.
    """
    found = _search(_checked(points, memory_bytes), memory_bytes, _device(device))
    return found.r1, found.r2


class _Neighbours(NamedTuple):
    """The two nearest neighbours: distances r1 <= r2, (n,) each, and rows (n, 2)."""

    r1: Array
    r2: Array
    indices: Rows

    @property
    def mu(self) -> Array:
        return self.r2 / self.r1


def _search(points: npt.NDArray[Any], memory_bytes: int, device: torch.device) -> _Neighbours:
    """The two nearest neighbours of checked points."""
    if len(points) < 3:
        raise GeloraError(f"{len(points)} points given; two nearest neighbours need at least 3 points.")
    cloud = _cloud(points, memory_bytes, device)
    with _one_torch_thread():
        best = _shortlist(cloud, memory_bytes, torch.float64 if device.type == "cuda" else torch.float32)
        squares, indices, sure = _recompute(cloud, best, memory_bytes)
        _look_again(cloud, (~sure).nonzero().flatten(), squares, indices, memory_bytes)
    r1, r2 = (squares.sqrt() / cloud.scale).cpu().numpy().T
    return _Neighbours(np.ascontiguousarray(r1), np.ascontiguousarray(r2), indices.cpu().numpy())


@contextlib.contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Keeps torch's threads from waiting for cores that numpy's products or other processes hold."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Cloud:
    """Points (n, d) as given, a power of two `scale`, and the mean (d,) of `scale * points`."""

    points: torch.Tensor
    scale: float
    centre: torch.Tensor

    def centred(self, rows: slice | torch.Tensor) -> torch.Tensor:
        """(rows, d) float64, all values within [-1, 1]."""
        return self.points[rows].to(torch.float64, copy=True).mul_(self.scale).sub_(self.centre)

    def squares(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Scaled squared distances (rows, k) float64 from the points `rows` to their `columns` (rows, k)."""
        gaps = self.points[columns].double().mul_(self.scale)  # (rows, k, d)
        gaps -= self.points[rows].double().mul_(self.scale).unsqueeze(1)
        return gaps.square_().sum(dim=2)


def _cloud(points: npt.NDArray[Any], memory_bytes: int, device: torch.device) -> _Cloud:
    scale, centre = _scale_and_centre(points, memory_bytes)
    blocks = _row_blocks(points, memory_bytes)
    radius = max(float(np.abs(points[rows].astype(np.float64) * scale - centre).max()) for rows in blocks)
    zoom = _power_of_two_below(radius)
    on_device = torch.from_numpy(points).to(device)
    return _Cloud(on_device, scale * zoom, torch.from_numpy(centre * zoom).to(device))


@dataclass(frozen=True)
class _Best:
    """The smallest keys that every point met so far, ascending (rows, count), and whose they are."""

    keys: torch.Tensor
    columns: torch.Tensor

    @classmethod
    def none(cls, rows: int, count: int, dtype: torch.dtype, device: torch.device) -> _Best:
        keys = torch.full((rows, count), math.inf, dtype=dtype, device=device)
        return cls(keys, torch.zeros((rows, count), dtype=torch.int64, device=device))

    def meet(self, rows: slice, keys: torch.Tensor, first_column: int) -> None:
        """Takes the keys (rows, columns), the columns counted from `first_column`."""
        new_keys, new_columns = _smallest(keys, self.keys.shape[1])
        both = torch.cat((self.keys[rows], new_keys), dim=1)
        columns = torch.cat((self.columns[rows], new_columns + first_column), dim=1)
        self.keys[rows], place = both.topk(self.keys.shape[1], largest=False)
        self.columns[rows] = columns.gather(1, place)


def _smallest(keys: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` smallest of every row of keys (rows, 32 m), and their columns, as topk finds them.

    They lie in the `count` groups of 32 columns whose minima are smallest, so the whole width is read only once, by
    a minimum. Group g holds the columns g, g + m, g + 2 m ...; the memory may be by rows or by columns.
    """
    groups = keys.shape[1] // _GROUP
    if keys.stride(0) == 1:
        minima = keys.T.view(_GROUP, groups, len(keys)).amin(dim=0).T
    else:
        minima = keys.view(len(keys), _GROUP, groups).amin(dim=1)
    chosen = minima.topk(min(count, groups), largest=False, sorted=False).indices
    members = torch.arange(0, keys.shape[1], groups, device=keys.device)
    columns = (chosen.unsqueeze(2) + members).flatten(1)  # (rows, 32 count)
    values, place = keys.gather(1, columns).topk(count, largest=False)
    return values, columns.gather(1, place)


def _shortlist(cloud: _Cloud, memory_bytes: int, dtype: torch.dtype) -> _Best:
    """The four smallest keys of every point, from one half of the symmetric matrix of keys."""
    n, d = cloud.points.shape
    itemsize = torch.finfo(dtype).bits // 8
    tiles = _Tiles.within(memory_bytes, n, itemsize + 1, 2 * d * (itemsize + 12) + 8192, cloud.points.device, dtype)
    best = _Best.none(n, _SHORTLIST, dtype, cloud.points.device)
    for rows in tiles.slices(n):
        left = _operand(cloud, rows, dtype, left=True)
        for columns in tiles.slices(n, start=rows.start):
            keys = tiles.product(left, _operand(cloud, columns, dtype, left=False))
            if columns == rows:
                keys.diagonal().fill_(math.inf)
            best.meet(rows, keys[: len(left)], columns.start)
            if columns != rows:
                best.meet(columns, keys[:, : columns.stop - columns.start].T, rows.start)
    return best


@dataclass(frozen=True)
class _Tiles:
    """Cuts the matrix of keys into tiles, which are computed one after the other in one buffer."""

    buffer: torch.Tensor

    @classmethod
    def within(
        cls, memory_bytes: int, n: int, cell_bytes: int, row_bytes: int, device: torch.device, dtype: torch.dtype
    ) -> _Tiles:
        """The widest tiles, t points by t, with `cell_bytes * t^2 + row_bytes * t` within the memory."""
        root = math.sqrt(row_bytes**2 + 4 * cell_bytes * max(memory_bytes, 0))
        widest = min(int((root - row_bytes) / (2 * cell_bytes)), 4096 if device.type == "cuda" else 2048)
        width = max(_GROUP, min(widest // _GROUP * _GROUP, _padded(n)))
        return cls(torch.empty((width, width), dtype=dtype, device=device))

    def slices(self, n: int, start: int = 0) -> Iterator[slice]:
        width = len(self.buffer)
        return (slice(first, min(first + width, n)) for first in range(start, n, width))

    def product(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """`left @ right.T`, both sides padded to multiples of 32 by infinite keys."""
        rows, columns = len(left), len(right)
        keys = self.buffer[: _padded(rows), : _padded(columns)]
        keys[rows:].fill_(math.inf)
        keys[:, columns:].fill_(math.inf)
        out = keys[:rows, :columns]
        if left.is_cuda:
            torch.mm(left, right.T, out=out)
        else:
            np.matmul(left.numpy(), right.numpy().T, out=out.numpy())
        return keys


def _padded(length: int) -> int:
    return -(-length // _GROUP) * _GROUP


def _operand(cloud: _Cloud, rows: slice | torch.Tensor, dtype: torch.dtype, *, left: bool) -> torch.Tensor:
    """One side of the product of keys: rows `[-x, |x|^2/2, 1]` (left) or `[y, 1, |y|^2/2]`, (rows, d + 2)."""
    x = cloud.centred(rows)
    operand = torch.empty((x.shape[0], x.shape[1] + 2), dtype=dtype, device=x.device)
    half, one = (-2, -1) if left else (-1, -2)
    operand[:, :-2] = x.neg_() if left else x
    operand[:, one] = 1
    operand[:, half] = x.square_().sum(dim=1).mul_(0.5)
    return operand


def _recompute(cloud: _Cloud, best: _Best, memory_bytes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two smallest squared distances among the shortlisted (n, 2), whose (n, 2), and whether that is sure (n,)."""
    n, d = cloud.points.shape
    squares = torch.empty((n, 2), dtype=torch.float64, device=cloud.points.device)
    indices = torch.empty((n, 2), dtype=torch.int64, device=cloud.points.device)
    sure = torch.empty(n, dtype=torch.bool, device=cloud.points.device)
    step = max(1, min(256, memory_bytes // (32 * d * (_SHORTLIST + 2))))
    for rows in torch.split(torch.arange(n, device=cloud.points.device), step):
        keys, columns = best.keys[rows], best.columns[rows].clamp_(max=n - 1)
        exact = cloud.squares(rows, columns).masked_fill_(keys.isinf(), math.inf)
        squares[rows], place = exact.topk(2, largest=False)
        indices[rows] = columns.gather(1, place)
        sure[rows] = keys[:, -1] >= _key_bound(cloud, rows, squares[rows, 1], keys.dtype)
    return squares, indices, sure


def _key_bound(cloud: _Cloud, rows: torch.Tensor, square: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Above the key in `dtype` of every point nearer (scaled) than `sqrt(square)`, see `nearest_two`; (rows,)."""
    d, limits = cloud.points.shape[1], torch.finfo(dtype)
    mu = (2 * d + 8) * limits.eps / 2
    gamma = mu / (1 - mu) if mu < 1 else math.inf
    reach = 2 * cloud.centred(rows).square_().sum(dim=1).sqrt_() + square.sqrt()
    return square / 2 + gamma / 2 * reach.square() + 4 * (d + 2) * limits.tiny


def _look_again(
    cloud: _Cloud, rows: torch.Tensor, squares: torch.Tensor, indices: torch.Tensor, memory_bytes: int
) -> None:
    """Replaces `squares` and `indices` of the rows by those over all points whose float64 key is below the bound."""
    n, d = cloud.points.shape
    dtype, device = torch.float64, cloud.points.device
    tiles = _Tiles.within(memory_bytes // 2, n, 64, 64 * d + 8192, device, dtype)
    for part in torch.split(rows, len(tiles.buffer)):
        left, bound = _operand(cloud, part, dtype, left=True), _key_bound(cloud, part, squares[part, 1], dtype)
        best = _Best.none(len(part), 2, dtype, device)
        for columns in tiles.slices(n):
            keys = tiles.product(left, _operand(cloud, columns, dtype, left=False))[: len(part)]
            other = part.unsqueeze(1) != torch.arange(columns.start, columns.start + keys.shape[1], device=device)
            a, b = (other & (keys <= bound.unsqueeze(1))).nonzero(as_tuple=True)
            keys.fill_(math.inf)
            for chunk in torch.split(torch.arange(len(a), device=device), max(_GROUP, memory_bytes // (64 * d))):
                pair = a[chunk], b[chunk]
                keys[pair] = cloud.squares(part[pair[0]], (pair[1] + columns.start).unsqueeze(1)).squeeze(1)
            best.meet(slice(None), keys, columns.start)
        squares[part], indices[part] = best.keys, best.columns


def fit(mu: Array, *, discard: float = 0.1) -> float:
    """TwoNN of Facco et al. (2017): the slope of `-log(1 - F)` over `log mu`, by least squares through the origin.

    With `mu` ascending, `F(mu_(k)) = k / N` for k = 1 .. N over all N values, of which the
    `int(N * (1 - discard))` smallest are fitted; the largest has no finite `-log(1 - F)` and never is.

    Args:
        mu: (N,), `r2 / r1`.
        discard: share of the largest values that is left out of the fit.

    Raises:
        GeloraError: `mu` not finite or below 1; `discard` outside [0, 1); fewer than two values kept; a grid (all
            values kept, or nine tenths of all, are 1 within 1e-4).
    """
    log_mu = _sorted_logs(mu, discard)
    kept = _fitted(len(log_mu), discard)
    x, y = log_mu[:kept], _exceedance(len(log_mu), kept)
    return float(x @ y / (x @ x))


def mle(mu: Array, *, discard: float = 0.1) -> float:
    """Maximum likelihood of the Pareto law, the discarded values censored, without bias on independent values.

    `idim = (k - 1) / (sum_{i <= k} log mu_(i) + (N - k) log mu_(k))` with the k = `int(N * (1 - discard))` smallest
    of N kept; `(N - 1) / sum log mu` with nothing discarded.

    Args:
        mu: (N,), `r2 / r1`.
        discard: share of the largest values that is censored.

    Raises:
        GeloraError: as `fit`.
    """
    log_mu = _sorted_logs(mu, discard)
    kept = _kept(len(log_mu), discard)
    return float((kept - 1) / (log_mu[:kept].sum() + (len(log_mu) - kept) * log_mu[kept - 1]))


def _sorted_logs(mu: Array, discard: float) -> Array:
    mu = np.asarray(mu, dtype=np.float64)
    bad = np.count_nonzero(~(np.isfinite(mu) & (mu >= 1)))
    if bad:
        raise GeloraError(f"{bad} of {mu.size} mu are not finite or below 1; collapse copies before the search.")
    log_mu = np.sort(np.log(mu))
    decisive = min(_fitted(len(log_mu), discard), int(0.9 * len(log_mu))) - 1
    if log_mu[decisive] <= GRID_LOG_MU:
        raise GeloraError(
            f"At least {decisive + 1} of {mu.size} points have both nearest neighbours equally far (mu = 1), as on a "
            "grid; TwoNN needs points drawn from a density. Take the values before they are rounded."
        )
    return log_mu


def _kept(n: int, discard: float) -> int:
    _check_discard(discard)
    kept = int(n * (1 - discard))
    if kept < 2:
        raise GeloraError(f"discard={discard} keeps {kept} of {n} mu; at least 2 are needed. Give more points.")
    return kept


def _fitted(n: int, discard: float) -> int:
    return min(_kept(n, discard), n - 1)


def _exceedance(n: int, kept: int) -> Array:
    """`-log(1 - k / n)` for k = 1 .. kept."""
    return -np.log1p(-np.arange(1, kept + 1) / n)


def _fit_influence(log_mu: Array, idim: float, discard: float) -> Array:
    """`psi_i = (n - 1) * (mean of the leave-one-out fits - the fit without log_mu[i])`, (n,), in O(n log n)."""
    n, order = len(log_mu), np.argsort(log_mu, kind="stable")
    kept = _fitted(n - 1, discard)
    y = _exceedance(n - 1, kept)
    before, after = log_mu[order[:kept]], log_mu[order[1 : kept + 1]]  # keep their rank, or lose one

    def without_each(terms_before: Array, terms_after: Array) -> Array:
        return _sums_before(terms_before) + _sums_before(terms_after[::-1])[::-1]

    left_out = without_each(before * y, after * y) / without_each(before**2, after**2)  # (kept + 1,)
    fits = left_out[np.minimum(np.arange(n), kept)]
    influence = np.empty(n)
    influence[order] = (n - 1) * (fits.mean() - fits)
    return influence


def _sums_before(terms: Array) -> Array:
    """Sums of the first 0, 1 .. k terms; (k + 1,)."""
    sums = np.zeros(len(terms) + 1)
    np.cumsum(terms, out=sums[1:])
    return sums


def _mle_influence(log_mu: Array, idim: float, discard: float) -> Array:
    """`psi_i = idim^2 / p * ((1 - p) * slope * (log mu_i <= q) - min(log mu_i, q))`, (n,), up to a constant.

    p is the share kept, q = log mu_(k) the largest kept, `slope = dq / dp` a difference quotient around it: real mu
    have heavier tails than the Pareto law, whose `1 / (idim * (1 - p))` would make the interval too short.
    """
    n, x = len(log_mu), np.sort(log_mu)
    kept = _kept(n, discard)
    largest, reach = x[kept - 1], (min(kept, n - kept) + 2) // 3
    slope = (x[kept - 1 + reach] - x[kept - 1 - reach]) * n / (2 * reach) if reach else 0.0
    scores: Array = (1 - kept / n) * slope * (log_mu <= largest) - np.minimum(log_mu, largest)
    scores *= idim**2 * n / kept
    return scores


def _interval(idim: float, influence: Array, neighbours: Rows) -> tuple[float, float]:
    """The 95 % interval from the influence (n,) of every point and its two nearest neighbours (n, 2)."""
    n = len(influence)
    psi = influence - influence.mean()
    point, neighbour = np.repeat(np.arange(n), 2), neighbours.ravel()
    links = np.unique(np.minimum(point, neighbour) * n + np.maximum(point, neighbour))
    shared = max(0.0, 2 * float(psi[links // n] @ psi[links % n]))
    factor = math.exp(_NORMAL_95 * math.sqrt(float(psi @ psi) + shared) / n / idim)
    return idim / factor, idim * factor


def _mean_over_parts(at_size: Callable[[Rows], float], order: Rows, parts: int) -> float | None:
    if len(order) // parts < MIN_POINTS:
        return None
    return float(np.mean([at_size(part) for part in np.array_split(order, parts)]))
