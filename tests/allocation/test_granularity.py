"""`ranks.granularity`: blocks or modules, for every planned method, under the same bound."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.allocation.formatting import format_plan
from gelora_cli.allocation.planning import plan_method
from gelora_cli.allocation.ranks import planned_methods
from gelora_cli.config.schema import MethodConfig
from gelora_cli.core.artifacts.model_map import BlockMap, LinearShape, ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import LayerIdim
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import from_json, to_json
from gelora_cli.core.registries import ALLOCATORS, METHODS
from gelora_cli.plots.run_ranks import ranks_figure
from tests.helpers.made_signals import drawn_signals
from tests.helpers.rank_profiles import MINILM, make_profile

SHAPES: dict[str, tuple[tuple[str, int, int], ...]] = {
    "encoder": (
        ("query", 32, 32),
        ("key", 32, 32),
        ("value", 32, 32),
        ("output", 32, 32),
        ("up", 32, 64),
        ("down", 64, 32),
    ),
    "grouped": (
        ("query", 32, 32),
        ("key", 32, 16),
        ("value", 32, 16),
        ("output", 32, 32),
        ("gate", 32, 64),
        ("down", 64, 32),
    ),
    "fused": (("qkv", 32, 96), ("output", 32, 32), ("gate_up", 32, 128), ("down", 64, 32)),
}
"""Linears of a block: all alike in attention, with fewer key heads, and with fused projections."""


@cache
def model_of(shapes: str, blocks: int = 4) -> ModelMap:
    rows = []
    for i in range(1, blocks + 1):
        linears = tuple(LinearShape(f"layers.{i}.{role}", role, n, m) for role, n, m in SHAPES[shapes])
        rows.append(BlockMap(i, f"layers.{i}", linears))
    return ModelMap("bert", tuple(rows), ("classifier",), 66, 100_000)


@cache
def signals_of(shapes: str) -> dict[str, Any]:
    model_map = model_of(shapes)
    idims = (3.0, 4.5, 4.0, 6.2, 6.9)
    layers = tuple(LayerIdim(i, d, d - 0.5, d + 0.5, d, None, 900, 0, 900, False) for i, d in enumerate(idims))
    profile = make_profile(idims)
    values = {**profile.__dict__, "model_map": model_map, "layers": layers}
    return {"idim": type(profile)(**values), **drawn_signals(model_map)}


def planned(method: str, shapes: str, tmp_path: Path | None = None, budget: str = "9000", **rules: Any) -> RankPlan:
    settings = MethodConfig.of(method)
    if method == "file":
        assert tmp_path is not None
        (tmp_path / "w.csv").write_text("block,weight\n1,1\n2,2\n3,0.5\n4,1\n")
        settings = MethodConfig.of(method, path=str(tmp_path / "w.csv"))
    return plan_method(
        model_of(shapes), signals_of(shapes), parse_budget(budget), method=method, settings=settings, **rules
    )


@pytest.mark.parametrize("shapes", ["grouped", "fused"])
@pytest.mark.parametrize("method", planned_methods())
def test_either_granularity_keeps_the_bound(method: str, shapes: str, tmp_path: Path) -> None:
    for modules in ("attention", "all") if shapes == "fused" else ("all",):
        dearest = max(linear.unit_params for linear in model_of(shapes).blocks[0].linears)
        for budget in ("9000", "auto") if modules == "attention" else ("9000",):
            of_blocks = planned(method, shapes, tmp_path, budget, modules=modules, granularity="block")
            of_modules = planned(method, shapes, tmp_path, budget, modules=modules, granularity="module")
            bound = of_blocks.budget_params or of_blocks.auto_params
            assert of_modules.auto_params == of_blocks.auto_params  # the bound is the same for both
            assert (of_blocks.granularity, of_modules.granularity) == ("block", "module")
            assert all(row.module_ranks is None for row in of_blocks.blocks)
            for made in (of_blocks, of_modules):
                assert made.adapter_params == sum(row.params for row in made.blocks) <= bound
                assert from_json(RankPlan, to_json(made)) == made
            # Modules fill the bound up to one unit of one module. Controls move what GeLoRA's ranks cost.
            if method not in ("shuffled", "random", "reversed", "eva_ranks") and budget != "auto":
                assert of_modules.adapter_params > bound - dearest
            shapes_by_name = {linear.name: linear for block in model_of(shapes).blocks for linear in block.linears}
            for name, rank in of_modules.rank_pattern.items():
                assert rank <= shapes_by_name[name].max_rank


@pytest.mark.parametrize("method", [name for name in planned_methods() if name != "file"])
def test_the_default_is_the_allocators_own(method: str) -> None:
    default = planned(method, "encoder")
    assert planned(method, "encoder", granularity=default.granularity).rank_pattern == default.rank_pattern
    per_module = {"fisher", "gora", "gradrank", "sensitivity", "eva_ranks", "weights"}
    assert (default.granularity == "module") is (method in per_module)


def test_modules_have_the_weight_and_the_lower_bound_of_their_block() -> None:
    made = planned("gelora", "encoder", granularity="module")
    assert [row.module_weights for row in made.blocks] == [(2.5,) * 4, (1.0,) * 4, (3.2,) * 4, (1.7,) * 4]
    for row in made.blocks:
        assert row.module_ranks is not None and row.lower_bound is not None
        assert min(row.module_ranks) >= row.lower_bound
        assert max(row.module_ranks) - min(row.module_ranks) <= 1  # equal weights: the earlier modules come first
        assert list(row.module_ranks) == sorted(row.module_ranks, reverse=True)
    auto = planned("gelora", "encoder", budget="auto", granularity="module")
    assert auto.rank_pattern == planned("gelora", "encoder", budget="auto").rank_pattern
    assert auto.ranks == auto.auto_ranks


def test_controls_move_the_units_of_modules() -> None:
    gelora = planned("gelora", "grouped", modules="all", granularity="module")
    ranks = [rank for row in gelora.blocks for rank in row.module_ranks or ()]
    for method in ("shuffled", "random", "reversed"):
        control = planned(method, "grouped", modules="all", granularity="module")
        moved = [rank for row in control.blocks for rank in row.module_ranks or ()]
        assert sum(moved) == sum(ranks) and moved != ranks
    mirrored = planned("reversed", "grouped", modules="all", granularity="module")
    assert [row.module_ranks for row in mirrored.blocks] == [row.module_ranks for row in gelora.blocks][::-1]


def test_a_plan_of_modules_is_shown_with_the_rank_of_each() -> None:
    made = planned("fisher", "encoder")
    lines = format_plan(made).splitlines()
    ranks = " ".join(map(str, made.blocks[0].module_ranks or ()))
    assert lines[0].split() == ["block", "weight", "rank", "params", "modules"]
    assert lines[1].endswith(f"  {ranks}")
    assert "modules of a block: query key value output" in lines
    assert "low..high" not in lines[0]
    figure = ranks_figure(made)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert "fisher rank, the largest of its modules" in labels and "its modules" in labels


def test_a_plan_of_another_signal_is_shown_with_its_weights() -> None:
    made = plan_method(MINILM.model_map, {}, parse_budget("rank:4"), method="depth")
    lines = format_plan(made).splitlines()
    assert lines[0].split() == ["block", "weight", "rank", "params"]
    assert lines[6].split()[:2] == ["6", "6"]


@pytest.mark.parametrize("modules", ["attention", "all"])
def test_every_allocator_plans_for_every_kind_of_model(
    modules: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    ranks = tmp_path / "mine.csv"
    ranks.write_text("block,weight\n1,1\n2,2\n3,3\n")
    for directory in tiny_models.values():
        model_map = shapes_in(directory)
        drawn = drawn_signals(model_map)
        for method in planned_methods():
            if ALLOCATORS.get(METHODS.get(method).allocator).signal == "idim":
                continue  # covered with the tests of growth and its controls
            settings = MethodConfig.of(method, **({"path": str(ranks)} if method == "file" else {}))
            made = plan_method(
                model_map, drawn, parse_budget("rank:3"), method=method, settings=settings, modules=modules
            )
            dearest = max(sum(linear.unit_params for linear in block.linears) for block in model_map.blocks)
            assert made.budget_params is not None
            assert made.budget_params - dearest < made.adapter_params <= made.budget_params
            assert set(made.rank_pattern) <= {name for row in made.blocks for name in row.modules}


def shapes_in(directory: Path) -> ModelMap:
    """Return the map of a model from its configuration, without its weights."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from gelora_cli.models.block_map import map_model

    with torch.device("meta"):
        factory: Any = AutoModelForSequenceClassification
        model = factory.from_config(AutoConfig.from_pretrained(directory))
    return map_model(model, head_modules=())
