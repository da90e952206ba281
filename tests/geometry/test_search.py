"""The nearest neighbours of every point, of parts of the points, and the estimates without each tenth of the texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from gelora_cli.core.errors import GeloraError
from gelora_cli.geometry import search as search_module
from gelora_cli.geometry.duplicates import find_representatives
from gelora_cli.geometry.fit import fit
from gelora_cli.geometry.jackknife import fold_of_texts
from gelora_cli.geometry.neighbours import find_neighbours, nearest_two
from gelora_cli.geometry.search import PointSearch
from gelora_cli.geometry.twonn import estimate_idim

CPU = torch.device("cpu")
MEMORY = 2**28


def clouds() -> dict[str, npt.NDArray[Any]]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 12))
    return {
        "plain": x,
        "float32 in many columns": rng.standard_normal((300, 200)).astype(np.float32),
        "a plane": rng.random((500, 2)),
        "tight clusters": rng.standard_normal((6, 12))[rng.integers(0, 6, 400)] + 1e-6 * x,
        "whole numbers": rng.integers(0, 6, (300, 4)),
        "wider than a tile": rng.standard_normal((2100, 3)),
    }


CLOUDS = clouds()


def distances(points: npt.NDArray[Any], count: int) -> npt.NDArray[np.float64]:
    """Return the smallest distances (n, count) by float64 differences, row by row."""
    points = points.astype(np.float64)
    return np.array([np.sort(np.linalg.norm(points - point, axis=1))[1 : count + 1] for point in points])


@pytest.mark.parametrize("count", [2, 16, 130])
@pytest.mark.parametrize("name", CLOUDS)
def test_the_nearest_neighbours_are_exact_and_begin_with_the_two(name: str, count: int) -> None:
    points = np.asarray(CLOUDS[name], None if CLOUDS[name].dtype.kind == "f" else np.float64)
    found = find_neighbours(points, MEMORY, CPU, count=count)
    np.testing.assert_allclose(found.distances, distances(points, count), rtol=1e-13)
    gaps = np.linalg.norm(points[found.indices] - points[:, None].astype(np.float64), axis=2)
    np.testing.assert_allclose(gaps, found.distances, rtol=1e-13)
    np.testing.assert_array_equal(found.distances[:, :2].T, nearest_two(points))
    assert all(len(set(row)) == count for row in found.indices.tolist())


def test_neighbours_of_some_rows_are_those_of_all() -> None:
    points = CLOUDS["wider than a tile"]
    rows = np.random.default_rng(1).permutation(len(points))[:70]
    every, some = (find_neighbours(points, MEMORY, CPU, count=5, rows=which) for which in (None, rows))
    np.testing.assert_array_equal(some.distances, every.distances[rows])
    np.testing.assert_array_equal(some.indices, every.indices[rows])


@pytest.mark.parametrize("count", [2, 3, 12, 60])
@pytest.mark.parametrize("name", CLOUDS)
def test_ratios_within_a_part_are_those_of_the_part_alone(name: str, count: int) -> None:
    # They agree bit by bit, however few of a point's neighbours lie in the part.
    points = np.unique(np.asarray(CLOUDS[name], None if CLOUDS[name].dtype.kind == "f" else np.float64), axis=0)
    search = PointSearch.run(points, count, MEMORY, CPU)
    order = np.random.default_rng(2).permutation(len(points))
    parts = (order[: len(points) // 2], order[: len(points) // 8], order[len(points) // 10 :])
    nearest, farther = search.ratios_within(parts, 1, 2), search.ratios_within(parts, 4, 8)
    for part, near, far in zip(parts, nearest, farther, strict=True):
        r1, r2 = nearest_two(points[part])
        np.testing.assert_array_equal(near, r2 / r1)
        np.testing.assert_array_equal(far, find_neighbours(points[part], MEMORY, CPU, count=8).ratios(4, 8))


def test_parts_of_ordinary_points_are_hardly_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []

    def count(points: npt.NDArray[Any], *args: Any, rows: npt.NDArray[np.int64] | None = None, **options: Any) -> Any:
        searched.append(len(points) if rows is None else len(rows))
        return find_neighbours(points, *args, rows=rows, **options)

    monkeypatch.setattr(search_module, "find_neighbours", count)
    estimate_idim(CLOUDS["wider than a tile"])
    assert searched[0] == 2100
    assert sum(searched[1:]) < 0.25 * 2100, "halves, quarters and ten times nine tenths"


def test_jackknife_is_the_estimate_without_each_tenth_of_the_texts() -> None:
    points = CLOUDS["plain"]
    fold = fold_of_texts(np.arange(400), 10, seed=5)
    assert np.bincount(fold).tolist() == [40] * 10
    found = estimate_idim(points, seed=5)
    expected = [fit(np.divide(*nearest_two(points[fold != left_out])[::-1])) for left_out in range(10)]
    assert found.jackknife == tuple(expected)
    assert estimate_idim(points, seed=6).jackknife != found.jackknife
    assert estimate_idim(points, seed=6).idim == found.idim


def test_the_tenth_of_a_text_is_the_same_in_every_layer() -> None:
    # Layers differ in their duplicates, and a text may have several points.
    texts = np.arange(90)
    fold = fold_of_texts(texts, 10, seed=3)
    np.testing.assert_array_equal(fold_of_texts(np.repeat(texts, 4), 10, seed=3), np.repeat(fold, 4))
    np.testing.assert_array_equal(fold_of_texts(texts[::-1].copy(), 10, seed=3), fold[::-1])


def test_points_of_one_text_leave_together() -> None:
    points, texts = CLOUDS["plain"], np.repeat(np.arange(100), 4)
    fold = fold_of_texts(texts, 10, seed=0)
    found = estimate_idim(points, texts=texts)
    assert found.jackknife[7] == fit(np.divide(*nearest_two(points[fold != 7])[::-1]))
    assert found.idim == estimate_idim(points).idim


def test_duplicates_stay_while_one_of_them_does() -> None:
    points = CLOUDS["plain"]
    twice = np.concatenate((points, points * (1 + 1e-9)))
    fold = fold_of_texts(np.arange(800), 10, seed=0)
    np.testing.assert_array_equal(find_representatives(twice), np.tile(np.arange(400), 2))
    stays = (fold[:400] != 2) | (fold[400:] != 2)
    assert 380 < stays.sum() < 400
    assert estimate_idim(twice).jackknife[2] == fit(np.divide(*nearest_two(points[stays])[::-1]))


@pytest.mark.parametrize(("points", "count"), [(22, 0), (23, 10)])
def test_too_few_points_have_no_jackknife(points: int, count: int) -> None:
    assert len(estimate_idim(CLOUDS["plain"][:points]).jackknife) == count


def test_constant_states_stay_constant_without_a_tenth() -> None:
    assert estimate_idim(np.ones((50, 4))).jackknife == (0.0,) * 10
    assert estimate_idim(np.ones((20, 4))).jackknife == ()


@pytest.mark.parametrize("texts", [np.arange(399), np.arange(400) - 1, np.arange(400) / 2])
def test_texts_that_are_no_numbers_of_texts_are_refused(texts: npt.NDArray[Any]) -> None:
    with pytest.raises(GeloraError, match=r"texts .*given.* accepted"):
        estimate_idim(CLOUDS["plain"], texts=texts)
