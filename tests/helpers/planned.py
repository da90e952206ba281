"""Shared by the tests of several packages, first met in test_planning.py."""

from __future__ import annotations

from typing import Any

from gelora_cli.allocation.planning import plan_method
from gelora_cli.config.schema import LowRankConfig, MethodConfig
from gelora_cli.core.artifacts.model_map import BlockMap, LinearShape, ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.budget import Budget
from gelora_cli.core.registries import METHODS

WIDTH, INNER = 32, 64


def encoder(blocks: int = 3, width: int = WIDTH, inner: int = INNER) -> ModelMap:
    """Return a BERT-like map: q, k, v, o of (width, width), feed-forward to `inner` and back."""
    rows = []
    for number in range(1, blocks + 1):
        name = f"layer.{number}"
        linears = (
            LinearShape(f"{name}.attention.self.query", "query", width, width),
            LinearShape(f"{name}.attention.self.key", "key", width, width),
            LinearShape(f"{name}.attention.self.value", "value", width, width),
            LinearShape(f"{name}.attention.output.dense", "output", width, width),
            LinearShape(f"{name}.intermediate.dense", "up", width, inner),
            LinearShape(f"{name}.output.dense", "down", inner, width),
        )
        rows.append(BlockMap(number, name, linears))
    return ModelMap("bert", tuple(rows), ("classifier",), 66, 1_000_000, 900, 300)


MAP = encoder()


def plan_of(
    method: str, budget: Budget, model_map: ModelMap = MAP, modules: str = "attention", **settings: Any
) -> RankPlan:
    scaling = 4.0 if issubclass(METHODS.get(method).config_class, LowRankConfig) else None
    return plan_method(
        model_map,
        {},
        budget,
        method=method,
        modules=modules,
        scaling=scaling,
        settings=MethodConfig.of(method, **settings),
        seed=0,
    )
