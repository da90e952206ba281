"""Finding points that are equal but for rounding, such as the states of equal sentences in different batches.

Letters: n points, d columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gelora_cli.core.errors import GeloraError
from gelora_cli.geometry.points import MEMORY_BYTES, Array, Rows, check_points, row_blocks, scale_and_centre

DUPLICATE_TOLERANCE = 1e-5  # of the mean norm
DUPLICATE_SPACING = 2e-3  # of the distance from a state to the next one that is no duplicate of it


def deduplicate(
    points: npt.NDArray[Any], *, tolerance: float = DUPLICATE_TOLERANCE, memory_bytes: int = MEMORY_BYTES
) -> Rows:
    """Return the rows (ascending) that are left when every set of duplicates is replaced by its first row.

    `find_representatives` says what a set of duplicates is, what it costs, and which errors there are.
    """
    first = find_representatives(points, tolerance=tolerance, memory_bytes=memory_bytes)
    return np.flatnonzero(first == np.arange(len(points)))


def find_representatives(
    points: npt.NDArray[Any], *, tolerance: float = DUPLICATE_TOLERANCE, memory_bytes: int = MEMORY_BYTES
) -> Rows:
    """Return for every point the first row (n,) of its set of duplicates, which is its own row if it has none.

    Two points are duplicates when their distance is at most `limit = min(tolerance * norm, spacing / 500)`. `norm` is
    the mean norm of the points as given, not of the centred ones: rounding in a forward pass follows the size of the
    states. `spacing` is the median distance of 64 points to their nearest neighbour farther than `tolerance * norm`;
    it keeps distinct points of dense sets, of which about `500 ** -idim` are collapsed (without it a line of 10,000
    points reads 1.16). Float32 states of equal sentences in differently padded batches were up to 1.2e-6 of the norm
    apart after six blocks of MiniLM, distinct ones at least 1e-4: the default 1e-5 lies between.

    Duplicates of duplicates are duplicates (the connected components of the pairs), so the sets don't depend on the
    order of the rows, only the representatives do. Near pairs are neighbours in the order of a fixed random projection,
    which can only shorten distances: O(n d) time and O(n) memory unless many points project onto each other.

    Args:
        points: (n, d), finite.
        tolerance: relative to the mean norm; 0 collapses exact duplicates only.
        memory_bytes: working memory besides O(n).

    Raises:
        GeloraError: a negative tolerance; points that are no (n, d) array of real numbers or not finite.
    """
    if not tolerance >= 0:
        raise GeloraError(f"tolerance={tolerance} given; a number from 0 up is accepted.")
    points = check_points(points, memory_bytes)
    if len(points) < 2:
        return np.arange(len(points))
    # Everything below is in float64 and scaled by a power of two: squares of large or tiny values stay in range, and
    # the scaling rounds nothing.
    scale, _ = scale_and_centre(points, memory_bytes)
    projections, norms = _project(points, scale, memory_bytes)
    order = np.argsort(projections[:, 0], kind="stable")
    limit = tolerance * float(norms.mean())
    # Evenly spaced in the order of the projection, so that the sample spreads over the points and nothing is drawn.
    sample = order[np.linspace(0, len(points) - 1, min(64, len(points))).astype(np.int64)]
    limit = min(limit, DUPLICATE_SPACING * _median_spacing(points, scale, sample, limit, memory_bytes))
    # Rounding moves two projections apart by at most this: d + 2 roundings at 2^-53 of the largest norm, times eight.
    blur = 8 * (points.shape[1] + 2) * 2.0**-53 * float(norms.max())
    near = _ClosePairs(points, scale, projections, limit, limit + blur, memory_bytes)
    return _first_of_component(near, order)


def _project(points: npt.NDArray[Any], scale: float, memory_bytes: int) -> tuple[Array, Array]:
    """Return scaled points projected on eight fixed directions of length 1 (n, 8), and their norms (n,)."""
    # The seed is fixed: another one could sort other pairs together, but no pair would be missed with any.
    directions = np.random.default_rng(0).standard_normal((points.shape[1], 8))
    directions /= np.linalg.norm(directions, axis=0)
    projections, norms = np.empty((len(points), 8)), np.empty(len(points))
    for rows in row_blocks(points, memory_bytes):
        block = points[rows].astype(np.float64) * scale  # (rows, d)
        projections[rows], norms[rows] = block @ directions, np.linalg.norm(block, axis=1)
    return projections, norms


def _median_spacing(points: npt.NDArray[Any], scale: float, sample: Rows, beyond: float, memory_bytes: int) -> float:
    """Return the median over the sample of the distance (scaled) to the nearest point farther than `beyond`."""
    picked = points[sample].astype(np.float64) * scale  # (sample, d)
    nearest = np.full(len(sample), np.inf)  # squared
    for rows in row_blocks(points, memory_bytes):
        block = points[rows].astype(np.float64) * scale
        # |x|^2 + |y|^2 - 2 x.y loses digits where x is near y; those are the pairs that `beyond` leaves out.
        squares = np.square(picked).sum(axis=1)[:, None] + np.square(block).sum(axis=1) - 2 * picked @ block.T
        squares[squares <= beyond**2] = np.inf
        np.minimum(nearest, squares.min(axis=1), out=nearest)
    return math.sqrt(float(np.median(nearest)))


@dataclass(frozen=True)
class _ClosePairs:
    """Decide which pairs of rows are at most `limit` (scaled) apart; `window` bounds it in the projections."""

    points: npt.NDArray[Any]
    scale: float
    projections: Array
    limit: float
    window: float
    memory_bytes: int

    def pairs(self, a: Rows, b: Rows) -> npt.NDArray[np.bool_]:
        """Return which of the pairs a[i], b[i] are close, (pairs,)."""
        near: npt.NDArray[np.bool_] = (
            np.abs(self.projections[a] - self.projections[b]).max(axis=1, initial=0) <= self.window
        )
        candidates = np.flatnonzero(near)
        # A pair takes six arrays of d float64 at once: each point as gathered, converted and scaled.
        step = max(1, self.memory_bytes // (48 * self.points.shape[1]))
        for start in range(0, len(candidates), step):
            part = candidates[start : start + step]
            gap = self.points[a[part]].astype(np.float64) * self.scale
            gap -= self.points[b[part]].astype(np.float64) * self.scale
            near[part] = np.linalg.norm(gap, axis=1) <= self.limit
        return near


def _first_of_component(near: _ClosePairs, order: Rows) -> Rows:
    """Return for every row the first row of its connected component."""
    projected = near.projections[order, 0]  # (n,), ascending
    first = np.arange(len(order))  # every row is a component of its own until it is linked
    # Rows are compared with the next one in the order, then the next but one, as long as any pair may still be close.
    left = np.arange(len(order) - 1)
    offset = 0
    while len(left):
        offset += 1
        left = left[left + offset < len(order)]
        left = left[projected[left + offset] - projected[left] <= near.window]
        a, b = order[left], order[left + offset]
        apart = first[a] != first[b]  # pairs of one component need no distance
        a, b = a[apart], b[apart]
        linked = near.pairs(a, b)
        first = _merge_components(first, a[linked], b[linked])
    return first


def _merge_components(first: Rows, a: Rows, b: Rows) -> Rows:
    """Return the components `first` once the rows a[i] and b[i] are linked."""
    while np.any(first[a] != first[b]):
        # `at` applies every link, also several to one component; then rows follow their representative to its own.
        np.minimum.at(first, np.maximum(first[a], first[b]), np.minimum(first[a], first[b]))
        while np.any(first[first] != first):
            first = first[first]
    return first
