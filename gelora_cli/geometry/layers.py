"""The intrinsic dimension of every layer from the points of all processes; the processes take layers in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from gelora_cli.allocation.layer_checks import pooling_fix
from gelora_cli.core.artifacts.profile import FEWEST_POINTS, LayerIdim, ProfileSettings
from gelora_cli.core.distributed import Device, gather_objects, gather_rows
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.geometry.distinct_points import DistinctPoints
from gelora_cli.geometry.estimators import GRIDE, find_estimator
from gelora_cli.geometry.scale_rules import choose_scale
from gelora_cli.geometry.twonn import neighbours_needed
from gelora_cli.geometry.workers import row_workers

if TYPE_CHECKING:
    from accelerate import Accelerator

Item = TypeVar("Item")
LAYERS_AT_ONCE = 4
SMALL_LAYER = 64 * 2**20
"""Bytes of a layer's points, up to which as many layers are worked on at once, one for each thread at most."""


def estimate_layers(
    states: list[torch.Tensor],
    order: NDArray[np.int64],
    texts: NDArray[np.int64],
    settings: ProfileSettings,
    with_scales: bool,
    accelerator: Accelerator | Device,
) -> tuple[tuple[LayerIdim, ...], int | None]:
    """Estimate every layer from the states of all processes; return them, and n1 for the estimator `gride`.

    Args:
        states: this process's points of every layer.
        order: brings the gathered points into the order of the split, (points,).
        texts: the text of each ordered point, (points,): several points may be tokens of one text.
        settings: the estimator's.
        with_scales: whether to measure idim at several sizes of the neighbourhood, too.
        accelerator: the processes.

    Raises:
        GeloraError: an estimate that can't be made, with its layer; no layer has enough different states.
    """
    scale = settings.scale
    if settings.estimator == GRIDE and scale is None:
        # One scale for all layers, so each is searched before any is estimated.
        searched = _over_layers(states, order, accelerator, _searcher(texts, settings, with_scales, accelerator))
        scale = _choose_scale(searched, accelerator)
        share = {layer: _layer_idim(layer, found, settings, scale, with_scales) for layer, found in searched.items()}
    else:
        search = _searcher(texts, settings, with_scales, accelerator)

        def measure(layer: int, points: NDArray[np.float32]) -> LayerIdim:
            return _layer_idim(layer, search(layer, points), settings, scale, with_scales)

        share = _over_layers(states, order, accelerator, measure)
    rows = _gather_layers(accelerator, share)
    layers = tuple(rows[layer] for layer in sorted(rows))
    _check_any_measured(layers, settings)
    return layers, scale


def _check_any_measured(layers: Sequence[LayerIdim], settings: ProfileSettings) -> None:
    """Check that some layer has an estimate; a model whose layers are all constant passes, with idims of 0."""
    if any(row.few_states for row in layers) and all(row.by_definition for row in layers):
        most = max(row.used for row in layers if row.few_states)
        raise GeloraError(
            f"every layer takes at most {most} different states for {layers[0].points:,} points; at least "
            f"{FEWEST_POINTS} are needed in one of them. Use other texts, or more{pooling_fix(settings.pooling)}"
        )


def _searcher(
    texts: NDArray[np.int64], settings: ProfileSettings, with_scales: bool, accelerator: Accelerator | Device
) -> Callable[[int, NDArray[np.float32]], DistinctPoints]:
    """Return the search for the neighbours of a layer's points."""
    # Several CPU processes have devices cpu:0, cpu:1, ..., which are one.
    device = "cpu" if accelerator.device.type == "cpu" else str(accelerator.device)
    neighbours = neighbours_needed(settings.estimator, settings.scale, with_scales=with_scales)

    def search(layer: int, points: NDArray[np.float32]) -> DistinctPoints:
        with _naming_layer(layer, settings):
            return DistinctPoints.find(points, neighbours, seed=settings.seed, texts=texts, device=device)

    return search


def _over_layers(
    states: list[torch.Tensor],
    order: NDArray[np.int64],
    accelerator: Accelerator | Device,
    work: Callable[[int, NDArray[np.float32]], Item],
) -> dict[int, Item]:
    """Gather every layer in all processes; return what `work` makes of those of this process.

    Small layers are worked on at once: steps that use one core only, or wait for a GPU, then leave no core idle.
    """
    rank, processes = accelerator.process_index, accelerator.num_processes
    most = min(LAYERS_AT_ONCE, torch.get_num_threads())
    started: dict[int, Future[Item]] = {}
    with row_workers() as workers, ThreadPoolExecutor(most) as threads:
        try:
            for layer in range(len(states)):
                points = gather_rows(accelerator, states[layer].to(accelerator.device))  # (points, D)
                states[layer] = torch.zeros(0)  # frees the memory before the next layer is gathered
                if layer % processes == rank:
                    started[layer] = threads.submit(work, layer, points.cpu().numpy()[order])
                    is_small = points.nbytes <= SMALL_LAYER
                    running = [future for future in started.values() if not future.done()]
                    if len(running) >= (most if is_small else 1):
                        wait(running, return_when=FIRST_COMPLETED)
            wait(started.values())
        except BaseException:  # such as a signal, which must not wait for whole layers
            workers.shutdown(wait=False, cancel_futures=True)
            raise
    return {layer: future.result() for layer, future in started.items()}


def _choose_scale(searched: Mapping[int, DistinctPoints], accelerator: Accelerator | Device) -> int:
    """Return the one n1 of all layers, those of other processes included."""
    curves = _gather_layers(accelerator, {layer: points.scales() for layer, points in searched.items()})
    scale = choose_scale([curves[layer] for layer in sorted(curves)])
    LOGGER.info("profile: idim is read at n1=%d in all layers (profile.scale)", scale)
    return scale


def _gather_layers(accelerator: Accelerator | Device, share: dict[int, Item]) -> dict[int, Item]:
    """Return the items of all processes by layer."""
    every: dict[int, Item] = {}
    for layers in gather_objects(accelerator, share):
        every |= layers
    return every


def _layer_idim(
    layer: int, points: DistinctPoints, settings: ProfileSettings, scale: int | None, with_scales: bool
) -> LayerIdim:
    with _naming_layer(layer, settings):
        estimator = find_estimator(settings.estimator, discard=settings.discard, scale=scale or 1)
        estimate = points.estimate(estimator, with_eighth=with_scales)
    return LayerIdim(
        layer=layer,
        idim=estimate.idim,
        low=estimate.low,
        high=estimate.high,
        half=estimate.idim_half,
        quarter=estimate.idim_quarter,
        points=estimate.points,
        copies=estimate.duplicates,
        used=estimate.used,
        constant=estimate.constant,
        eighth=estimate.idim_eighth,
        jackknife=estimate.jackknife,
        scales=points.scales() if with_scales else (),
    )


@contextmanager
def _naming_layer(layer: int, settings: ProfileSettings) -> Iterator[None]:
    """Add the layer, and what to do about it, to an error."""
    try:
        yield
    except GeloraError as error:
        raise GeloraError(f"layer {layer}: {error}{pooling_fix(settings.pooling)}") from error
