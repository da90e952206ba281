"""The look in bfloat16 changes no bit of what is found, whatever the processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from gelora_cli.geometry import keys, neighbours, rough_keys
from gelora_cli.geometry.keys import make_cloud
from gelora_cli.geometry.neighbours import find_neighbours
from gelora_cli.geometry.rough_keys import look_roughly
from gelora_cli.geometry.workers import row_workers

CPU = torch.device("cpu")


def clouds() -> dict[str, npt.NDArray[Any]]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 40)) / np.arange(1, 41)
    return {
        "plain": x.astype(np.float32),
        "float64": x,
        "far from the origin": (x + 100).astype(np.float32),
        "tight clusters": rng.standard_normal((9, 40))[rng.integers(0, 9, 600)] + 1e-6 * x,
        "one outlier": np.concatenate((x, 1e7 + x[:1])),
        "every scale": x * 10.0 ** rng.uniform(-20, 20, (600, 1)),
        "tiny in float32": (x * 1e-30).astype(np.float32),
        "a curve": np.linspace(0, 1, 600)[:, None] * np.ones(3),
    }


CLOUDS = clouds()


@pytest.fixture(autouse=True)
def any_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rough_keys, "multiplies_bfloat16_fast", lambda: True)


@pytest.mark.parametrize("name", CLOUDS)
def test_a_rough_look_before_changes_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    points = CLOUDS[name]
    rows = np.random.default_rng(1).permutation(len(points))[:50]
    found = [find_neighbours(points, 2**28, CPU, count=count, rows=which) for count, which in ((5, None), (12, rows))]
    monkeypatch.setattr(neighbours, "suits_rough_keys", lambda *_: False)
    plain = [find_neighbours(points, 2**28, CPU, count=count, rows=which) for count, which in ((5, None), (12, rows))]
    for rough, expected in zip(found, plain, strict=True):
        np.testing.assert_array_equal(rough.distances, expected.distances)


def test_chunks_of_columns_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    points = CLOUDS["plain"]
    expected = find_neighbours(points, 2**28, CPU, count=5)
    monkeypatch.setattr(rough_keys, "COLUMNS", 100)
    monkeypatch.setattr(rough_keys, "ROWS", 70)
    monkeypatch.setattr(rough_keys, "LEAST_MEMORY", 0)
    found = find_neighbours(points, 2**16, CPU, count=5)
    np.testing.assert_array_equal(found.distances, expected.distances)
    np.testing.assert_array_equal(found.indices, expected.indices)


@pytest.mark.parametrize("columns", [3, 40, 1500])
def test_no_key_is_above_its_bound(columns: int) -> None:
    # With as many neighbours as there are keys, every key belongs to a known distance.
    points = np.random.default_rng(2).standard_normal((200, columns)).astype(np.float32)
    cloud = make_cloud(points, 2**28, CPU)
    with row_workers() as workers:
        look = look_roughly(cloud, torch.arange(200), 60, 2**28, workers)
    exact = cloud.squares(torch.arange(200), look.shortlist.columns)
    for column in range(exact.shape[1]):
        assert (look.shortlist.keys[:, column] <= look.bound(slice(None), exact[:, column])).all()
    loose = look.bound(slice(None), exact[:, 5]) / (exact[:, 5] / 2)
    assert loose.median() < 1.05, "a bound far above the keys would call no point sure"


def test_most_points_are_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []
    monkeypatch.setattr(neighbours, "look_plainly", lambda cloud, rows, *_: searched.append(len(rows)))
    find_neighbours(CLOUDS["plain"], 2**28, CPU, count=12)
    assert not searched, "more than 64 points would be looked at in float32"


def test_products_on_a_gpu_keep_full_float32_and_the_users_setting() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        with keys._full_float32():
            assert torch.backends.cuda.matmul.fp32_precision == "ieee"
            assert not torch.is_autocast_enabled("cuda")
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before)
