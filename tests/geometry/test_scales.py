"""GRIDE beside other implementations, its interval, and idim at several sizes of the neighbourhood."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from gelora_cli.core.errors import GeloraError
from gelora_cli.geometry.estimators import find_estimator
from gelora_cli.geometry.gride import gride, gride_influence, kept_ratios
from gelora_cli.geometry.jackknife import fold_of_texts
from gelora_cli.geometry.neighbours import Neighbours, find_neighbours, nearest_two
from gelora_cli.geometry.scales import scale_idim, scale_idims
from gelora_cli.geometry.twonn import estimate_idim

N1S = (1, 2, 4, 8, 16, 32, 64)


def searched(points: npt.NDArray[Any], count: int) -> Neighbours:
    return find_neighbours(points, 2**28, torch.device("cpu"), count=count)


def gaussian(n: int, d: int, seed: int = 0) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((n, d))


def ratios(n: int, d: float, n1: int, n2: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """Return independent ratios of the law: `mu^-d` follows Beta(n1, n2 - n1)."""
    return np.random.default_rng(seed).beta(n1, n2 - n1, n) ** (-1 / d)


# `return_id_scaling_gride(range_max=128)` of DADApy 0.3.4 on gaussian(400, 5), printed by scripts/compare_gride.py.
DADAPY = [
    4.534795442543313,
    5.4160109336902105,
    4.942935045535064,
    4.870396148967063,
    4.615561692715769,
    4.310679815789598,
    3.795741892882477,
]


def test_dadapy_agrees() -> None:
    # Its bisection stops at a width of 1e-7.
    found = scale_idims(searched(gaussian(400, 5), 128))
    assert [scale.n1 for scale in found] == list(N1S)
    assert [scale.idim for scale in found] == pytest.approx(DADAPY, rel=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("n", "d"), [(400, 2), (700, 12)])
def test_scikit_dimension_agrees(n: int, d: int) -> None:
    theirs = pytest.importorskip("skdim.id")
    if not hasattr(theirs, "GRIDE"):
        pytest.skip("this scikit-dimension has no GRIDE")
    points = gaussian(n, d)
    points[:9] = points[60:69] + 1e-6 * points[:9]  # near copies, whose ratios are cut
    expected = theirs.GRIDE(multiscale=True, range_max=128).fit(points).dimension_scales_
    found = scale_idims(searched(points, 128))
    assert [scale.idim for scale in found] == pytest.approx(expected, rel=1e-9)
    assert found[0].dropped > 9


@pytest.mark.parametrize(("n1", "n2"), [(1, 2), (1, 3), (4, 8), (64, 128)])
@pytest.mark.parametrize("d", [0.05, 2.0, 300.0])
def test_the_dimension_of_the_law_is_found(d: float, n1: int, n2: int) -> None:
    mu = ratios(20_000, d, n1, n2)
    idim = gride(mu, n1, n2)
    influence = gride_influence(mu, idim, n1, n2)
    error = math.sqrt(float(influence @ influence)) / len(mu)
    # The cut leaves out the heaviest tail of small dimensions.
    assert idim == pytest.approx(d, abs=4 * error) if d > 1 else idim == pytest.approx(d, rel=0.6)


def test_ties_and_outliers_are_dropped_and_counted() -> None:
    mu = np.concatenate((ratios(1000, 5, 2, 4), [1.0] * 7, [1e6, 1e7]))
    assert np.flatnonzero(~kept_ratios(mu)).tolist() == list(range(1000, 1009))
    assert gride(mu, 2, 4) == gride(mu[:1000], 2, 4)
    assert not gride_influence(mu, 5.0, 2, 4)[1000:].any()


def test_a_grid_and_what_is_no_ratio_are_refused() -> None:
    with pytest.raises(GeloraError, match=r"Most of 40 points .*grid"):
        gride(np.array([1.0] * 36 + [1.5] * 4), 1, 2)
    with pytest.raises(GeloraError, match=r"1 of 3 mu are not finite"):
        gride(np.array([1.5, np.inf, 1.5]), 1, 2)
    grid = np.stack(np.meshgrid(*[np.arange(8.0)] * 3), axis=-1).reshape(-1, 3)
    assert 1 not in [scale.n1 for scale in scale_idims(searched(grid, 128))]


@pytest.mark.parametrize(("points", "largest"), [(20, 2), (100, 16), (383, 32), (384, 64), (3000, 64)])
def test_neighbourhoods_hold_at_most_a_third_of_the_points(points: int, largest: int) -> None:
    found = scale_idims(searched(gaussian(points, 3), min(140, points - 1)))
    assert found[-1].n1 == largest


def test_a_scale_says_the_radius_that_it_looks_at() -> None:
    neighbours = searched(gaussian(300, 3), 8)
    found = scale_idims(neighbours)[2]
    assert found.n1 == 4
    expected = (neighbours.distances[:, 3] + neighbours.distances[:, 7]).mean() / 2
    assert found.distance == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n1", [1, 4, 16])
def test_interval_covers_the_expectation(n1: int) -> None:
    """Check 100 intervals at 95 %, of which 95 +- 2.2 should cover."""
    found = []
    for draw in range(100):
        points = np.random.default_rng([3, draw]).random((200, 2))
        found.append(scale_idim(searched(points, 2 * n1), n1))
    mean = np.mean([scale.idim for scale in found])
    covered = sum(scale.low < mean < scale.high for scale in found)
    assert covered >= 88


def test_estimate_by_gride_is_that_of_its_scale_and_of_its_parts() -> None:
    points = gaussian(600, 6)
    found = estimate_idim(points, estimator="gride", scale=4, with_scales=True)
    at_scale = found.scales[2]
    assert (found.scale, at_scale.n1, found.jackknife[3] != found.idim) == (4, 4, True)
    assert (found.idim, found.low, found.high) == (at_scale.idim, at_scale.low, at_scale.high)
    order = np.random.default_rng(0).permutation(600)
    for parts, mean in ((2, found.idim_half), (4, found.idim_quarter), (8, found.idim_eighth)):
        each = [gride(searched(points[part], 8).ratios(4, 8), 4, 8) for part in np.array_split(order, parts)]
        assert mean == np.mean(each)
    left = points[fold_of_texts(np.arange(600), 10, 0) != 3]
    assert found.jackknife[3] == gride(searched(left, 8).ratios(4, 8), 4, 8)


def test_scales_change_no_other_number() -> None:
    points = gaussian(900, 5)
    plain, found = estimate_idim(points), estimate_idim(points, with_scales=True)
    assert (plain.scales, plain.idim_eighth, plain.scale) == ((), None, None)
    assert (found.idim, found.low, found.high, found.jackknife) == (plain.idim, plain.low, plain.high, plain.jackknife)
    assert (found.idim_half, found.idim_quarter) == (plain.idim_half, plain.idim_quarter)
    assert len(found.scales) == 7
    order = np.random.default_rng(0).permutation(900)
    mu = [np.divide(*nearest_two(points[part])[::-1]) for part in np.array_split(order, 8)]
    fit = find_estimator("fit")
    assert found.idim_eighth == np.mean([fit.estimate(each) for each in mu])


def test_the_rule_looks_past_the_noise_around_a_plane() -> None:
    # A square with noise of a 200th in 20 directions: near neighbours see the noise, far ones the square.
    rng = np.random.default_rng(5)
    points = np.pad(rng.random((1500, 2)), ((0, 0), (0, 20))) + rng.standard_normal((1500, 22)) / 200
    found = estimate_idim(points, estimator="gride")
    assert found.scale is not None
    assert found.scale >= 8
    assert found.idim < 0.6 * found.scales[0].idim
    assert estimate_idim(gaussian(1000, 3), estimator="gride").scale == 1


def test_a_scale_that_the_points_do_not_allow_is_refused() -> None:
    with pytest.raises(GeloraError, match=r"120 usable points .*GRIDE at n1=32 needs at least 192"):
        estimate_idim(gaussian(120, 3), estimator="gride", scale=32)
    with pytest.raises(GeloraError, match=r"scale=0 given; .*from 1 up"):
        estimate_idim(gaussian(120, 3), estimator="gride", scale=0)
