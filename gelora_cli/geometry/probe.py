"""The geometry of a model while it is fine-tuned, on a fixed probe; an observer, which changes no number.

For conjecture 3.1 of GeLoRA (arXiv 2412.09250, known here only by what others write of it): the gap between intrinsic
dimension and the rank of a block's Jacobian shrinks as fine-tuning goes on. The rank is measured as the stable rank,
which needs no tolerance. D is the width of the hidden states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gelora_cli.core.devices import random_devices
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.geometry.distinct_points import IdimEstimate
from gelora_cli.geometry.jacobians import block_calls, block_jacobian, stable_rank
from gelora_cli.models.modes import evaluating

LEAST_TOKENS = 12
"""Probe tokens are in the shortest sequences of at least so many tokens: a Jacobian's cost grows with the length."""


@dataclass(frozen=True)
class GeometryProbe:
    """Measures the geometry of a model that trains, on fixed examples.

    Attributes:
        model: the model that trains.
        body: its backbone.
        layers: the module that produces each layer 1 .. L; one that runs several times is there several times.
        states: returns the pooled hidden states of every layer 0 .. L on the probe's examples, each (n, D).
        estimate: returns the idim of the states of one layer.
        probes: the inputs of the model for one sequence each, and the number of a token in it.
        updates: returns the change of every adapted linear's weight by name; None if the method changes no weight.
        linears: the names of the linears of each block.
    """

    model: nn.Module
    body: nn.Module
    layers: Sequence[nn.Module]
    states: Callable[[], Sequence[NDArray[np.float32]]]
    estimate: Callable[[NDArray[np.float32]], IdimEstimate]
    probes: Sequence[tuple[dict[str, torch.Tensor], int]]
    updates: Callable[[], dict[str, torch.Tensor]] | None
    linears: Sequence[Sequence[str]]

    def measure(self) -> dict[str, Any]:
        """Return what the model's geometry is now, in the calling process; layers count from 0, blocks from 1.

        `idims` with `idim_low` and `idim_high` (95 % interval) of every layer, None if there is no estimate.
        `jacobian_stable_ranks` of every block, of a shared one in each of its passes: the mean over the probe tokens of
        the stable rank of the Jacobian (D, D) of the block's output at a token by its input at the same token, with the
        smallest and the largest in `jacobian_low` and `jacobian_high`. `update_stable_ranks` of every block: the mean
        over its linears of the stable rank of the weight's change, without those that are zero; None if all are, as
        before the first step.
        The key is absent if the method changes no linear's weight (biases, bottleneck adapters).
        """
        with undisturbed(self.model):
            values = self._idims() | self._jacobians()
            return values if self.updates is None else values | self._updates(self.updates())

    def _idims(self) -> dict[str, Any]:
        estimates = [self._idim(layer, points) for layer, points in enumerate(self.states())]
        return {
            "idims": [row and row.idim for row in estimates],
            "idim_low": [row and row.low for row in estimates],
            "idim_high": [row and row.high for row in estimates],
        }

    def _idim(self, layer: int, points: NDArray[np.float32]) -> IdimEstimate | None:
        """Return the estimate, or None if there is none, as after a collapsed training: the run goes on."""
        try:
            return self.estimate(points)
        except GeloraError as error:
            LOGGER.warning("track: no idim of layer %d: %s", layer, error)
            return None

    def _jacobians(self) -> dict[str, Any]:
        by_token = [self._ranks_at(inputs, token) for inputs, token in self.probes]
        by_layer = list(zip(*by_token, strict=True))  # of each layer a rank at every probe token
        return {
            "jacobian_stable_ranks": [_unless_none(_mean, ranks) for ranks in by_layer],
            "jacobian_low": [_unless_none(min, ranks) for ranks in by_layer],
            "jacobian_high": [_unless_none(max, ranks) for ranks in by_layer],
        }

    def _ranks_at(self, inputs: Mapping[str, torch.Tensor], token: int) -> list[float | None]:
        """Return the stable rank of every layer's Jacobian at one token."""
        calls = block_calls(self.body, self.layers, inputs)
        return [
            _finite_rank(block_jacobian(block, call.hidden, token, *call.args, **call.kwargs))
            for block, call in zip(self.layers, calls, strict=True)
        ]

    def _updates(self, updates: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        means: list[float | None] = []
        for names in self.linears:
            ranks = [_finite_rank(updates[name]) for name in names if name in updates]
            means.append(_unless_none(_mean, [rank for rank in ranks if rank != 0]))  # 0: this linear did not move
        return {"update_stable_ranks": means}


def probe_tokens(lengths: NDArray[np.int64], count: int) -> list[tuple[int, int]]:
    """Return the sequences that probe the Jacobians, as rows of `lengths` (n,), with the token in the middle of each.

    They are the shortest with `LEAST_TOKENS` or more, then the longest of the others; ties go to the earlier row.
    """
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row] < LEAST_TOKENS, abs(lengths[row] - LEAST_TOKENS)))
    return [(row, int(lengths[row]) // 2) for row in order[:count]]


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode for a while; restore every module's mode and the random states afterwards."""
    # What is measured may draw, and the training must not notice.
    with torch.random.fork_rng(devices=random_devices()), evaluating(model):
        yield


def _finite_rank(matrix: torch.Tensor) -> float | None:
    """Return the stable rank; None of a matrix that is not finite, so that the run goes on."""
    return stable_rank(matrix) if bool(torch.isfinite(matrix).all()) else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _unless_none(summary: Callable[[Sequence[float]], float], values: Sequence[float | None]) -> float | None:
    """Return the summary of the values; None if there are none, or one of them is None."""
    known = [value for value in values if value is not None]
    return summary(known) if known and len(known) == len(values) else None
