"""The estimates of all layers: one scale for all of them, on any number of processes."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gelora_cli.core.artifacts.profile import LayerIdim, ProfileSettings
from gelora_cli.core.distributed import Device
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.geometry import layers as layers_module
from gelora_cli.geometry.layers import estimate_layers
from gelora_cli.geometry.twonn import estimate_idim
from gelora_cli.geometry.workers import row_workers

SETTINGS = ProfileSettings("mean", "gride", 0.1, 10_000, 64, 0)
ORDER = np.random.default_rng(1).permutation(400)
Layers = tuple[tuple[LayerIdim, ...], int | None]


def states() -> list[torch.Tensor]:
    """Return three layers (400, D), of which the second is two columns with noise, and the last is constant."""
    rng = np.random.default_rng(0)
    noisy = np.pad(rng.random((400, 2)), ((0, 0), (0, 10))) + rng.standard_normal((400, 12)) / 200
    return [torch.from_numpy(layer) for layer in (rng.standard_normal((400, 4)), noisy, np.ones((400, 3)))]


def estimate(settings: ProfileSettings, *, with_scales: bool = False, accelerator: Any = None) -> Layers:
    accelerator = accelerator or Device(torch.device("cpu"))
    return estimate_layers(states(), ORDER, np.arange(400), settings, with_scales, accelerator)


def test_all_layers_are_read_at_one_scale() -> None:
    layers, scale = estimate(SETTINGS)
    assert scale is not None
    assert scale > 1
    for layer in layers[:2]:
        points = states()[layer.layer].numpy()[ORDER]
        expected = estimate_idim(points, estimator="gride", scale=scale)
        assert (layer.idim, layer.jackknife) == (expected.idim, expected.jackknife)
        assert layer.scales == ()
    assert layers[2].constant
    assert (layers[2].idim, layers[2].jackknife) == (0.0, (0.0,) * 10)
    assert estimate(replace(SETTINGS, scale=scale)) == (layers, scale)


def test_layers_of_few_states_have_no_say_in_the_scale_and_can_not_be_all() -> None:
    few = torch.from_numpy(np.tile(np.random.default_rng(2).random((19, 3)), (22, 1))[:400])
    device, texts = Device(torch.device("cpu")), np.arange(400)
    plain, scale = estimate(SETTINGS)
    layers, with_few = estimate_layers([*states()[:2], few], ORDER, texts, SETTINGS, False, device)
    assert (with_few, layers[:2]) == (scale, plain[:2])
    assert (layers[2].few_states, layers[2].idim, layers[2].used, layers[2].copies) == (True, 0.0, 19, 381)
    with pytest.raises(GeloraError, match="every layer takes at most 19 different states for 400 points"):
        estimate_layers([few, torch.ones(400, 3)], ORDER, texts, SETTINGS, False, device)


def test_scales_are_measured_on_request_and_change_nothing_else() -> None:
    settings = replace(SETTINGS, estimator="fit")
    plain, scale = estimate(settings)
    layers, _ = estimate(settings, with_scales=True)
    assert scale is None
    assert [len(layer.scales) for layer in layers] == [7, 7, 0]
    assert [layer.eighth is not None for layer in layers] == [True, True, True]
    assert tuple(replace(layer, scales=(), eighth=None) for layer in layers) == plain


def test_two_processes_choose_the_scale_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two threads stand for the processes; both hold all rows, and each estimates its share of the layers.
    barrier, items = threading.Barrier(2, timeout=60), [None, None]

    def gather_objects(accelerator: SimpleNamespace, item: Any) -> list[Any]:
        items[accelerator.process_index] = item
        barrier.wait()
        gathered = list(items)
        barrier.wait()  # before the next one overwrites them
        return gathered

    alone = estimate(SETTINGS, with_scales=True)
    monkeypatch.setattr(layers_module, "gather_objects", gather_objects)
    monkeypatch.setattr(layers_module, "gather_rows", lambda accelerator, tensor: tensor)
    processes = [
        SimpleNamespace(process_index=rank, num_processes=2, device=torch.device("cpu", rank)) for rank in (0, 1)
    ]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda process: estimate(SETTINGS, with_scales=True, accelerator=process), processes))
    assert found == [alone, alone]


def test_a_signal_does_not_wait_for_whole_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    def work_on_row(row: int) -> None:
        begun.append(row)
        time.sleep(0.01)

    def search(layer: int, points: Any) -> None:
        with row_workers() as workers:
            list(workers.map(work_on_row, range(300)))

    def signal_comes(*_: Any, **__: Any) -> None:
        raise StoppedError("interrupted by SIGTERM")

    monkeypatch.setattr(layers_module, "wait", signal_comes)
    with pytest.raises(StoppedError):
        layers_module._over_layers(states(), ORDER, Device(torch.device("cpu")), search)
    assert len(begun) < 300
