"""Intrinsic dimension (idim) by TwoNN: an array of points in, a number with an error bar out.

Facco, d'Errico, Rodriguez and Laio, "Estimating the intrinsic dimension of datasets by a minimal neighborhood
information", Scientific Reports 7, 12140 (2017). With the distances `r1 <= r2` of a point to its two nearest
neighbours, `mu = r2 / r1` follows a Pareto law, `P(mu <= m) = 1 - m ** -idim`, whatever the density.

Letters: n points, d columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gelora_cli.core.errors import GeloraError
from gelora_cli.geometry.duplicates import find_representatives
from gelora_cli.geometry.fit import fit, fit_influence
from gelora_cli.geometry.interval import jackknife_interval
from gelora_cli.geometry.jackknife import FOLDS, fold_of_texts, points_left
from gelora_cli.geometry.mle import mle, mle_influence
from gelora_cli.geometry.neighbours import torch_device
from gelora_cli.geometry.points import MEMORY_BYTES, Array, Rows, check_points, is_constant
from gelora_cli.geometry.ratios import check_discard
from gelora_cli.geometry.search import PointSearch

MIN_POINTS = 20
"""Fewer distinct points have no estimate: already at 20 the 95 % interval covers 86 to 90 %."""
NEIGHBOURS = 12
"""Neighbours that are searched of every point. Two of so many nearly always lie in its half, and mostly in its quarter;
the other points are searched again in their part."""


@dataclass(frozen=True)
class IdimEstimate:
    """An intrinsic dimension with its 95 % interval `low .. high`.

    Attributes:
        idim: the estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        idim_half: the mean of the estimates over two disjoint halves of the used points; None if a half would have
            fewer than 20 points.
        idim_quarter: the same over four quarters.
        points: number of points in the array.
        duplicates: how many of them were collapsed.
        used: how many points are left.
        constant: whether all points are one. The idim is 0 by definition then, the interval [0, 0], and no duplicates
            are collapsed.
        jackknife: the estimate without each of the parts of the texts; empty if one of them can't be estimated.
    """

    idim: float
    low: float
    high: float
    idim_half: float | None
    idim_quarter: float | None
    points: int
    duplicates: int
    used: int
    constant: bool
    jackknife: tuple[float, ...] = ()


def estimate_idim(
    points: npt.NDArray[Any],
    *,
    estimator: str = "fit",
    discard: float = 0.1,
    seed: int = 0,
    texts: npt.NDArray[np.integer[Any]] | None = None,
    folds: int = FOLDS,
    memory_bytes: int = MEMORY_BYTES,
    device: str = "cpu",
) -> IdimEstimate:
    """Estimate the intrinsic dimension of points by TwoNN.

    States are constant if their total spread `sqrt(mean |x - mean x|^2)` is at most 1e-5 of the mean norm. Otherwise
    duplicates are collapsed (`deduplicate`), the two nearest neighbours are found (`nearest_two`), and idim is
    estimated from `mu`. Parts of the points are estimated from the neighbours that lie in the part
    (`PointSearch.ratios_within`).

    The interval is a grouped jackknife. With `psi_i` the influence of point i on the estimate,
    `variance = (sum_i psi_i^2 + max(0, sum_{i ~ j} psi_i psi_j)) / n^2`, the second sum over the ordered pairs of
    which one point is among the other's two nearest neighbours: their `mu` depend on each other, and without it the
    interval is 1.1 to 1.35 times too short. The interval is `idim * exp(+-1.96 * sqrt(variance) / idim)`. It is
    meant for the estimator's expectation at this number of points, not for its bias, which `idim_half` and
    `idim_quarter` show. Of 1,000 draws from each of two cubes, two spheres, two Gaussians and a Swiss roll it covered
    that in 94 to 96 % at 400 points, in 91 to 94 % at 100 (92 % of 3,000 draws from a 2-sphere), in 89 to 93 % at 40
    and in 86 to 90 % at 20 (`scripts/idim_coverage.py`).

    `jackknife` leaves out each tenth of the texts in turn. A text is in the same tenth for every array of points with
    the same seed and texts (`fold_of_texts`), so that layers can be compared tenth by tenth. A set of duplicates stays
    while one of its members does.

    Args:
        points: (n, d), real numbers.
        estimator: `fit` or `mle`, see the functions of these names.
        discard: share of the largest `mu` that the estimator discards.
        seed: of the permutation that makes the disjoint parts, and of the tenths.
        texts: (n,) the text that each point is of, a number from 0 up; the row where it is None.
        folds: number of parts of the texts for the jackknife.
        memory_bytes: working memory, see `nearest_two`. The used points are copied once in addition.
        device: where neighbours are searched: `cpu`, `cuda` or `cuda:<index>`.

    Raises:
        GeloraError: unknown estimator or device; `discard` outside [0, 1); points that are no (n, d) array of real
            numbers or not finite; `texts` that are no n whole numbers; fewer than 20 usable points; a grid (all `mu`
            are 1).
    """
    chosen = find_estimator(estimator)
    check_discard(discard)
    search_device = torch_device(device)
    points = check_points(points, memory_bytes)  # (n, d)
    fold = _folds(len(points), texts, folds, seed)
    # Before duplicates are collapsed: among constant states that would leave too few points for an estimate.
    if is_constant(points, memory_bytes):
        return _constant_estimate(len(points), folds)
    representatives = find_representatives(points, memory_bytes=memory_bytes)
    rows = np.flatnonzero(representatives == np.arange(len(points)))
    if len(rows) < MIN_POINTS:
        raise GeloraError(
            f"{len(rows)} usable points ({len(points)} given, {len(points) - len(rows)} of them duplicates); TwoNN "
            f"needs at least {MIN_POINTS} distinct points. Use more examples."
        )
    used = points if len(rows) == len(points) else points[rows]  # (used, d)
    search = PointSearch.run(used, NEIGHBOURS, memory_bytes, search_device)
    mu = search.neighbours.ratios(1, 2)
    idim = chosen.estimate(mu, discard=discard)
    influence = chosen.influence(np.log(mu), idim, discard)  # (used,)
    low, high = jackknife_interval(idim, influence, search.nearest_pairs())

    def estimate_part(part: Rows) -> float:
        return chosen.estimate(search.ratios_within(part, 1, 2), discard=discard)

    order = np.random.default_rng(seed).permutation(len(used))
    left = [np.flatnonzero(points_left(representatives, fold, number)) for number in range(folds)]
    return IdimEstimate(
        idim=idim,
        low=low,
        high=high,
        idim_half=_mean_over_parts(estimate_part, order, 2),
        idim_quarter=_mean_over_parts(estimate_part, order, 4),
        points=len(points),
        duplicates=len(points) - len(used),
        used=len(used),
        constant=False,
        jackknife=_estimate_each(estimate_part, left),
    )


class Estimator(NamedTuple):
    """An estimate from mu, and the influence of every log mu on it: (log_mu, idim, discard) -> (n,)."""

    estimate: Callable[..., float]
    influence: Callable[[Array, float, float], Array]


def find_estimator(name: str) -> Estimator:
    """Return the estimator of this name.

    Raises:
        GeloraError: there is none.
    """
    estimators = {"fit": Estimator(fit, fit_influence), "mle": Estimator(mle, mle_influence)}
    if name not in estimators:
        raise GeloraError(f"Estimator {name!r} given; accepted: {', '.join(estimators)}.")
    return estimators[name]


def _folds(points: int, texts: npt.NDArray[np.integer[Any]] | None, folds: int, seed: int) -> Rows:
    """Return the part of every point's text, (n,)."""
    if texts is None:
        texts = np.arange(points)
    if len(texts) != points:
        raise GeloraError(f"{len(texts)} texts given for {points} points; one is accepted for each point.")
    return fold_of_texts(texts, folds, seed)


def _constant_estimate(points: int, folds: int) -> IdimEstimate:
    return IdimEstimate(
        idim=0.0,
        low=0.0,
        high=0.0,
        idim_half=0.0 if points // 2 >= MIN_POINTS else None,
        idim_quarter=0.0 if points // 4 >= MIN_POINTS else None,
        points=points,
        duplicates=0,
        used=points,
        constant=True,
        jackknife=(0.0,) * folds if points - -(-points // folds) >= MIN_POINTS else (),
    )


def _mean_over_parts(estimate_part: Callable[[Rows], float], order: Rows, parts: int) -> float | None:
    """Return the mean of the estimates over so many disjoint parts; None if a part would be too small."""
    if len(order) // parts < MIN_POINTS:
        return None
    return float(np.mean([estimate_part(part) for part in np.array_split(order, parts)]))


def _estimate_each(estimate_part: Callable[[Rows], float], parts: Sequence[Rows]) -> tuple[float, ...]:
    """Return the estimate of each part; empty if one is too small, or is a grid where all points are none."""
    if min(map(len, parts)) < MIN_POINTS:
        return ()
    try:
        return tuple(estimate_part(part) for part in parts)
    except GeloraError:
        return ()
