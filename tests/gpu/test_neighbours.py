"""Neighbours on the GPU: as exact as on the CPU, within their memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gelora_cli.geometry.neighbours import nearest_two
from gelora_cli.geometry.twonn import estimate_idim

pytestmark = pytest.mark.gpu

ROUNDING = 8 * 2.0**-52
"""Both sum the same float64 differences, in another order."""


def cloud(n: int, d: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(n + d)
    points = rng.standard_normal((n, d)) / np.sqrt(np.arange(1, d + 1))
    if kind == "far":  # from the origin, where products lose the digits
        points += 1e4
    if kind == "copies":
        points[1::7] = points[::7][: len(points[1::7])]
    if kind == "grid":  # many equal distances
        points = rng.integers(0, 4, (n, d)).astype(float)
    return points.astype(np.float64 if kind == "double" else np.float32)


@pytest.mark.parametrize("kind", ["plain", "far", "copies", "grid", "double"])
@pytest.mark.parametrize(("n", "d"), [(33, 5), (3001, 384)])
def test_distances_are_those_of_the_cpu(n: int, d: int, kind: str) -> None:
    points = cloud(n, d, kind)
    for gpu, cpu in zip(nearest_two(points, device="cuda"), nearest_two(points), strict=True):
        np.testing.assert_allclose(gpu, cpu, rtol=ROUNDING, atol=0)


def test_float32_products_of_any_kind_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    points = cloud(2000, 64, "far")
    expected = nearest_two(points)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    for gpu, cpu in zip(nearest_two(points, device="cuda:0"), expected, strict=True):
        np.testing.assert_allclose(gpu, cpu, rtol=ROUNDING, atol=0)


def test_memory_is_bounded() -> None:
    points = cloud(20_000, 256, "plain")
    bound = 200 * 2**20
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    nearest_two(points, memory_bytes=bound, device="cuda")
    per_point = 200 * len(points)  # the shortlists and the results
    assert torch.cuda.max_memory_allocated() - before < points.nbytes + bound + per_point


def test_an_estimate_with_all_its_parts_is_that_of_the_cpu() -> None:
    points = cloud(2500, 96, "copies")
    gpu, cpu = (estimate_idim(points, device=device, with_scales=True) for device in ("cuda", "cpu"))
    assert gpu.used == cpu.used < len(points)
    for name in ("idim", "low", "high", "idim_half", "idim_quarter", "idim_eighth", "jackknife"):
        assert getattr(gpu, name) == pytest.approx(getattr(cpu, name), rel=1e-10)
    assert [scale.idim for scale in gpu.scales] == pytest.approx([scale.idim for scale in cpu.scales], rel=1e-10)
