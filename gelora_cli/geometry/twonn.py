"""Intrinsic dimension (idim) by TwoNN: an array of points in, a number with an error bar out.

Facco, d'Errico, Rodriguez and Laio, "Estimating the intrinsic dimension of datasets by a minimal neighborhood
information", Scientific Reports 7, 12140 (2017). With the distances `r1 <= r2` of a point to its two nearest
neighbours, `mu = r2 / r1` follows a Pareto law, `P(mu <= m) = 1 - m ** -idim`, whatever the density.

Letters: n points, d columns.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gelora_cli.geometry.distinct_points import DistinctPoints, IdimEstimate
from gelora_cli.geometry.estimators import GRIDE, find_estimator
from gelora_cli.geometry.jackknife import FOLDS
from gelora_cli.geometry.points import MEMORY_BYTES
from gelora_cli.geometry.ratios import check_discard
from gelora_cli.geometry.scale_rules import choose_scale
from gelora_cli.geometry.scales import LARGEST_N2

NEIGHBOURS = 12
"""Neighbours that are searched of every point. Two of so many nearly always lie in its half, and mostly in its quarter;
the other points are searched again in their part."""


def estimate_idim(
    points: npt.NDArray[Any],
    *,
    estimator: str = "fit",
    discard: float = 0.1,
    seed: int = 0,
    texts: npt.NDArray[np.integer[Any]] | None = None,
    folds: int = FOLDS,
    scale: int | None = None,
    with_scales: bool = False,
    memory_bytes: int = MEMORY_BYTES,
    device: str = "cpu",
) -> IdimEstimate:
    """Estimate the intrinsic dimension of points by TwoNN.

    States are constant if their total spread `sqrt(mean |x - mean x|^2)` is at most 1e-5 of the mean norm. Otherwise
    duplicates are collapsed (`deduplicate`), the two nearest neighbours are found (`nearest_two`), and idim is
    estimated from `mu`. Parts of the points are estimated from the neighbours that lie in the part
    (`PointSearch.ratios_within`).

    The idim is 0 by definition, with the interval [0, 0], if the points are constant, or take fewer than 20 distinct
    states though 20 or more were given: those are a finite set [ours].

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
    while one of its members does. The jackknife's standard error, `sqrt(9 / 10 * sum (x_k - mean)^2)`, was 1.3 to 1.8
    times the true spread of 60 to 150 draws from the same seven clouds (400 and 1,500 points): a ratio of neighbours is
    no smooth function of the sample.

    Args:
        points: (n, d), real numbers.
        estimator: `fit`, `mle` or `gride`, see the functions of these names.
        discard: share of the largest `mu` that `fit` and `mle` discard; `gride` has a cut of its own.
        seed: of the permutation that makes the disjoint parts, and of the tenths.
        texts: (n,) the text that each point is of, a number from 0 up; the row where it is None.
        folds: number of parts of the texts for the jackknife.
        scale: n1 of `gride`, which reads `r_{2 n1} / r_n1`; None: `choose_scale` chooses it from these points.
        with_scales: whether to measure `scales` and `idim_eighth`, too.
        memory_bytes: working memory, see `nearest_two`. The used points are copied once in addition.
        device: where neighbours are searched: `cpu`, `cuda` or `cuda:<index>`.

    Raises:
        GeloraError: unknown estimator, scale or device; `discard` outside [0, 1); points that are no (n, d) array of
            real numbers or not finite; `texts` that are no n whole numbers; fewer than 20 points given; fewer distinct
            ones, from 20 up, than three times the number of the farther neighbour; a grid (all `mu` are 1).
    """
    find_estimator(estimator, scale=1 if scale is None else scale)  # an unknown name is refused before the search
    check_discard(discard)
    distinct = DistinctPoints.find(
        points,
        neighbours_needed(estimator, scale, with_scales=with_scales),
        seed=seed,
        texts=texts,
        folds=folds,
        memory_bytes=memory_bytes,
        device=device,
    )
    must_choose = estimator == GRIDE and scale is None
    scales = distinct.scales() if with_scales or must_choose else ()
    if must_choose:
        scale = choose_scale([scales])
    chosen = find_estimator(estimator, discard=discard, scale=1 if scale is None else scale)
    estimate = distinct.estimate(chosen, with_eighth=with_scales)
    return replace(estimate, scales=scales, scale=scale if estimator == GRIDE else None)


def neighbours_needed(estimator: str, scale: int | None, *, with_scales: bool) -> int:
    """Return how many neighbours to search so that few points are searched again in a part of nine tenths."""
    # A quarter more than the farther neighbour's number: nine tenths of those are nearly always enough.
    needed = [NEIGHBOURS]
    if with_scales:
        needed.append(LARGEST_N2)
    if estimator == GRIDE:
        needed.append(LARGEST_N2 * 5 // 4 if scale is None else scale * 5 // 2)
    return max(needed)
