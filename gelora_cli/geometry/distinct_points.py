"""Points without duplicates, searched once: the estimates over all of them, over parts, and at several scales."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gelora_cli.core.artifacts.profile import FEWEST_POINTS, ScaleIdim
from gelora_cli.core.errors import GeloraError
from gelora_cli.geometry.duplicates import find_representatives
from gelora_cli.geometry.estimators import Estimator
from gelora_cli.geometry.interval import jackknife_interval
from gelora_cli.geometry.jackknife import FOLDS, fold_of_texts, points_left
from gelora_cli.geometry.neighbours import torch_device
from gelora_cli.geometry.points import MEMORY_BYTES, Array, Rows, check_points, is_constant
from gelora_cli.geometry.scales import scale_idims
from gelora_cli.geometry.search import PointSearch


@dataclass(frozen=True)
class IdimEstimate:
    """An intrinsic dimension with its 95 % interval `low .. high`.

    Attributes:
        idim: the estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        idim_half: the mean of the estimates over two disjoint halves of the used points; None if a half would have
            too few points (below 20, or three times the farther neighbour's number).
        idim_quarter: the same over four quarters.
        points: number of points in the array.
        duplicates: how many of them were collapsed.
        used: how many points are left.
        constant: whether all points are one. The idim is 0 by definition then, the interval [0, 0], and no duplicates
            are collapsed. Of 20 points or more that take fewer than 20 distinct states idim and interval are 0, too;
            `used` says how many states there are.
        jackknife: the estimate without each of the parts of the texts; empty if one of them can't be estimated.
        idim_eighth: the mean over eight parts; None if it was not asked for, or a part would have too few points.
        scales: idim at several sizes of the neighbourhood; empty if they were not asked for.
        scale: n1 of the estimator `gride`; None for the others.
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
    idim_eighth: float | None = None
    scales: tuple[ScaleIdim, ...] = ()
    scale: int | None = None


@dataclass(frozen=True)
class DistinctPoints:
    """Points of which every set of duplicates is one, and the nearest neighbours of each.

    Attributes:
        search: None if all points are one, or take fewer than 20 distinct states.
        representatives: (n,) the first row of the set of duplicates of every point as given.
        fold: (n,) the part of the text of every point as given.
        folds: number of these parts.
        seed: of the disjoint parts.
    """

    search: PointSearch | None
    representatives: Rows
    fold: Rows
    folds: int
    seed: int

    @classmethod
    def find(
        cls,
        points: npt.NDArray[Any],
        neighbours: int,
        *,
        seed: int = 0,
        texts: npt.NDArray[np.integer[Any]] | None = None,
        folds: int = FOLDS,
        memory_bytes: int = MEMORY_BYTES,
        device: str = "cpu",
    ) -> DistinctPoints:
        """Collapse duplicates and search so many neighbours; the arguments are those of `twonn.estimate_idim`.

        Raises:
            GeloraError: see there.
        """
        search_device = torch_device(device)
        points = check_points(points, memory_bytes)  # (n, d)
        fold = _folds(len(points), texts, folds, seed)
        # Before duplicates are collapsed: among constant states that would leave too few points for an estimate.
        if is_constant(points, memory_bytes):
            return cls(None, np.arange(len(points)), fold, folds, seed)
        representatives = find_representatives(points, memory_bytes=memory_bytes)
        rows = np.flatnonzero(representatives == np.arange(len(points)))
        if len(points) < FEWEST_POINTS:
            raise _too_few(len(points), len(rows), "TwoNN", FEWEST_POINTS)
        if len(rows) < FEWEST_POINTS:  # a finite set, whatever the number of points
            return cls(None, representatives, fold, folds, seed)
        used = points if len(rows) == len(points) else points[rows]  # (used, d)
        search = PointSearch.run(used, neighbours, memory_bytes, search_device)
        return cls(search, representatives, fold, folds, seed)

    def scales(self) -> tuple[ScaleIdim, ...]:
        """Return idim by GRIDE at n1 = 1, 2, 4 .. as far as neighbours were searched; empty without a search."""
        return scale_idims(self.search.neighbours) if self.search else ()

    def estimate(self, estimator: Estimator, *, with_eighth: bool = False) -> IdimEstimate:
        """Return the estimate over all points and over parts; at least `estimator.far` neighbours were searched.

        Raises:
            GeloraError: too few points for this estimator; a grid.
        """
        points, search = len(self.representatives), self.search
        if search is None:
            return self._zero_estimate(estimator, with_eighth)
        used = len(search.points)
        if used < estimator.fewest_points:
            raise _too_few(points, used, estimator.title, estimator.fewest_points)

        mu = search.neighbours.ratios(estimator.near, estimator.far)  # (used,)
        idim = estimator.estimate(mu)
        low, high = jackknife_interval(idim, estimator.influence(mu, idim), search.nearest(estimator.far))
        order = np.random.default_rng(self.seed).permutation(used)
        fewest = estimator.fewest_points
        divisions = [_disjoint_parts(order, parts, fewest) for parts in (2, 4, *([8] if with_eighth else []))]
        left = [np.flatnonzero(points_left(self.representatives, self.fold, number)) for number in range(self.folds)]
        if min(map(len, left)) < fewest:
            left = []
        # All parts at once, so that points which lack neighbours in several of them are searched again once.
        parts = [part for division in divisions for part in division]
        ratios = iter(search.ratios_within([*parts, *left], estimator.near, estimator.far))
        means = [_mean_estimate(estimator, list(itertools.islice(ratios, len(division)))) for division in divisions]
        return IdimEstimate(
            idim=idim,
            low=low,
            high=high,
            idim_half=means[0],
            idim_quarter=means[1],
            points=points,
            duplicates=points - used,
            used=used,
            constant=False,
            jackknife=_estimate_each(estimator, list(ratios)),
            idim_eighth=means[2] if with_eighth else None,
        )

    def _zero_estimate(self, estimator: Estimator, with_eighth: bool) -> IdimEstimate:
        """Return the estimate of one state, or of few, which is 0 by definition."""
        points, fewest = len(self.representatives), estimator.fewest_points
        used = len(np.unique(self.representatives))
        return IdimEstimate(
            idim=0.0,
            low=0.0,
            high=0.0,
            idim_half=0.0 if points // 2 >= fewest else None,
            idim_quarter=0.0 if points // 4 >= fewest else None,
            points=points,
            duplicates=points - used,
            used=used,
            constant=used == points,  # duplicates of constant points are not collapsed
            jackknife=(0.0,) * self.folds if points - -(-points // self.folds) >= fewest else (),
            idim_eighth=0.0 if with_eighth and points // 8 >= fewest else None,
        )


def _folds(points: int, texts: npt.NDArray[np.integer[Any]] | None, folds: int, seed: int) -> Rows:
    """Return the part of every point's text, (n,)."""
    if texts is None:
        texts = np.arange(points)
    if len(texts) != points:
        raise GeloraError(f"{len(texts)} texts given for {points} points; one is accepted for each point.")
    return fold_of_texts(texts, folds, seed)


def _too_few(points: int, used: int, title: str, fewest: int) -> GeloraError:
    return GeloraError(
        f"{used} usable points ({points} given, {points - used} of them duplicates); {title} needs at least {fewest} "
        f"distinct points. Use more examples{', or a smaller profile.scale' if title != 'TwoNN' else ''}."
    )


def _disjoint_parts(order: Rows, parts: int, fewest: int) -> list[Rows]:
    """Return so many disjoint parts of the rows; none if a part would be too small."""
    return np.array_split(order, parts) if len(order) // parts >= fewest else []


def _mean_estimate(estimator: Estimator, ratios: Sequence[Array]) -> float | None:
    """Return the mean of the estimates over parts; None if there are none."""
    return float(np.mean([estimator.estimate(part) for part in ratios])) if ratios else None


def _estimate_each(estimator: Estimator, ratios: Sequence[Array]) -> tuple[float, ...]:
    """Return the estimate of each part; empty if one is a grid where all points are none."""
    try:
        return tuple(estimator.estimate(part) for part in ratios)
    except GeloraError:
        return ()
