"""Shared by the tests of several packages, first met in test_ranks.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from gelora_cli.core.artifacts.model_map import BlockMap, LinearShape, ModelMap
from gelora_cli.core.artifacts.profile import IdProfile, LayerIdim, ProfileSettings
from gelora_cli.core.budget import Budget

UNIT = 3072  # one unit of rank on q, k, v, o of a block of MiniLM


IDIMS = (5.0, 7.5, 7.0, 8.2, 8.2, 11.2, 10.0)  # growth 2.5 0 1.2 0 3 0, lower bounds 3 1 2 1 3 1 = 11 units


def make_map(sides: Sequence[tuple[int, int]]) -> ModelMap:
    """Return a map with a block for each (in, out), with four linears of that shape."""
    paths = {"query": "self.query", "key": "self.key", "value": "self.value", "output": "output.dense"}
    blocks = []
    for number, (inputs, outputs) in enumerate(sides):
        name = f"encoder.layer.{number}"
        linears = [LinearShape(f"{name}.attention.{path}", role, inputs, outputs) for role, path in paths.items()]
        blocks.append(BlockMap(number + 1, name, tuple(linears)))
    return ModelMap("bert", tuple(blocks), ("classifier",), 770, 22_713_216)


def make_profile(
    idims: Sequence[float], sides: Sequence[tuple[int, int]] | None = None, spread: float = 0.5
) -> IdProfile:
    layers = tuple(LayerIdim(i, d, d - spread, d + spread, d, None, 900, 0, 900, False) for i, d in enumerate(idims))
    settings = ProfileSettings("mean", "fit", 0.1, 10_000, 128, 0)
    model_map = make_map(sides or [(384, 384)] * (len(idims) - 1))
    return IdProfile("minilm", "f" * 8, "demo", "e" * 8, settings, 1000, 1000, 0, 1000, layers, model_map, 1.5)


def with_tenths(profile: IdProfile, errors: Sequence[float]) -> IdProfile:
    """Return the profile with ten idims without a tenth of the texts each, with these standard errors.

    The jackknife's own errors are 1.7 times these, as those of nearest neighbours are. Layer i differs in the i-th of
    nine patterns that are orthogonal and sum to 0, so that no two layers go together.
    """
    layers = []
    for row, error in zip(profile.layers, errors, strict=True):
        # Cosines at the ten points of the discrete cosine transform: mean 0, mean square 1/2.
        pattern = [math.cos(math.pi * (2 * k + 1) * (row.layer % 9 + 1) / 20) for k in range(10)]
        layers.append(
            replace(row, jackknife=tuple(row.idim + 1.7 * error * math.sqrt(2) / 3 * value for value in pattern))
        )
    return replace(profile, layers=tuple(layers))


def units(count: int) -> Budget:
    return Budget("params", count * UNIT)


MINILM = make_profile(IDIMS)


idims = st.decimals(0, 40, places=2).map(float)
