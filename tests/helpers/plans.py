"""Shared by the tests of several packages, first met in test_plots.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.core.artifacts.model_map import BlockMap, LinearShape, ModelMap
from gelora_cli.core.artifacts.profile import IdProfile, LayerIdim, ProfileSettings, ScaleIdim
from gelora_cli.core.budget import parse_budget

IDIMS = (0.0, 6.5, 9.0, 8.25, 11.5, 11.5, 10.0)


def make_profile(idims: tuple[float, ...] = IDIMS, model: str = "minilm") -> IdProfile:
    blocks = tuple(
        BlockMap(i, f"layer.{i - 1}", (LinearShape(f"layer.{i - 1}.query", "query", 384, 384),))
        for i in range(1, len(idims))
    )
    model_map = ModelMap("bert", blocks, ("classifier",), 770, 22_713_216)
    layers = tuple(layer(i, d) for i, d in enumerate(idims))
    settings = ProfileSettings("mean", "fit", 0.1, 10_000, 128, 0)
    return IdProfile(model, "f" * 8, "demo", "e" * 8, settings, 5000, 4000, 12, 3988, layers, model_map, 1.5)


def layer(i: int, d: float) -> LayerIdim:
    """Return a layer with an uneven interval; the first two have no mean at N/4, and `d` = 0 is a constant state."""
    low, high = (d - 0.5, d + 0.75) if d else (0.0, 0.0)
    return LayerIdim(i, d, low, high, d * 0.96 or None, None if i < 2 else d * 0.9, 900, 10, 890, d == 0)


def scaled(row: LayerIdim, numbers: Sequence[int]) -> LayerIdim:
    """Return the layer with a curve over these n1 that is nowhere flat, unless it is constant."""
    scales = tuple(ScaleIdim(n1, row.idim * n1, row.idim * n1 - 0.1, row.idim * n1 + 0.1, 0.5, 0) for n1 in numbers)
    return replace(row, scales=() if row.constant else scales, eighth=row.idim * 2)


PROFILE = make_profile()


PLAN = plan_ranks(PROFILE, parse_budget("rank:5"))
