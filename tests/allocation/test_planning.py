"""Plans of every method from a model's shapes: what they cost, what they leave, what they refuse."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gelora_cli.allocation.formatting import format_plan
from gelora_cli.allocation.planning import has_largest_ranks, plan_method, with_module_ranks
from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.config.schema import MethodConfig
from gelora_cli.core.artifacts.model_map import LinearShape
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.budget import Budget, parse_budget
from gelora_cli.core.codec import from_json, to_json
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METHODS
from tests.helpers.methods_known import BOUNDED, EXEMPT, PLANNED, PROFILE_BASED
from tests.helpers.planned import INNER, MAP, WIDTH, encoder, plan_of
from tests.helpers.rank_profiles import MINILM as PROFILE


@pytest.mark.parametrize("modules", ["attention", "all"])
@pytest.mark.parametrize("method", BOUNDED)
def test_no_plan_passes_its_budget_and_little_is_left(method: str, modules: str) -> None:
    unit = {"houlsby": 2 * (2 * WIDTH + 1), "pfeiffer": 2 * WIDTH + 1}.get(method, WIDTH + INNER + 1)
    for bound in range(2_000, 6_300, 271):
        plan = plan_of(method, Budget("params", bound), modules=modules)
        assert bound - unit < plan.adapter_params <= bound
        assert (plan.budget_params, plan.head_params, plan.backbone_params) == (bound, 66, 1_000_000)
        assert f"of {bound:,} parameters used" in format_plan(plan)
        assert from_json(RankPlan, to_json(plan)) == plan


@pytest.mark.parametrize("method", [name for name in PLANNED if name not in ("depth", "file")])
def test_a_budget_is_tried_before_anything_is_measured(method: str) -> None:
    plan = plan_method(MAP, {}, Budget("params", 4_000), method=method, assume_even=True)
    assert plan.adapter_params <= 4_000
    assert plan.note == ""


def test_what_the_pruning_methods_start_with() -> None:
    triplet, modules = 2 * WIDTH + 1, 12
    adalora, sora = (plan_of(method, Budget("params", 40 * triplet + 5)) for method in ("adalora", "sora"))
    assert adalora.ranks == (5, 5, 5)  # 60 triplets are 5 in each of 12 modules
    assert (adalora.trained_params, adalora.adapter_params) == (5 * modules * triplet, 40 * triplet)
    assert "prunes to 40 triplets" in adalora.note
    assert sora.ranks == (6, 6, 6)  # 80 gates and a bit: the largest uniform rank is 6
    assert (sora.trained_params, sora.adapter_params) == (6 * modules * triplet, 40 * triplet + 5)
    with_norms = plan_of("sora", Budget("params", 40 * triplet + 5), layer_norms=True)
    assert with_norms.ranks == (5, 5, 5)
    assert with_norms.trained_params == 5 * modules * triplet + MAP.norm_params


def test_bottlenecks_cost_what_two_linears_with_biases_cost() -> None:
    fixed, unit = WIDTH, 2 * WIDTH + 1
    pfeiffer = plan_of("pfeiffer", Budget("params", 3 * fixed + 8 * unit + 3))
    assert pfeiffer.ranks == (3, 3, 2)
    assert pfeiffer.adapter_params == pfeiffer.trained_params == 3 * fixed + 8 * unit
    assert [row.modules for row in pfeiffer.blocks] == [(f"layer.{i}.output.dense",) for i in (1, 2, 3)]
    houlsby = plan_of("houlsby", Budget("params", 6 * fixed + 8 * 2 * unit))
    assert houlsby.ranks == (3, 3, 2)
    assert houlsby.blocks[0].modules == ("layer.1.attention.output.dense", "layer.1.output.dense")


def test_exempt_methods_cost_what_they_cost() -> None:
    for budget in ("0.1M", "auto", "rank:4"):
        bitfit, full = (plan_of(method, parse_budget(budget)) for method in EXEMPT)
        assert (bitfit.adapter_params, full.adapter_params) == (900, 1_000_000)
        assert bitfit.budget == full.budget == "exempt"
        assert bitfit.blocks == full.blocks == ()
        assert "exempt from the budget: full costs what it costs" in format_plan(full)
    with pytest.raises(GeloraError, match="has no bias terms"):
        plan_of("bitfit", parse_budget("0.1M"), replace(MAP, bias_params=0))


@pytest.mark.parametrize("modules", ["attention", "all"])
@pytest.mark.parametrize("method", BOUNDED)
def test_a_budget_too_small_names_the_smallest_which_is_met(method: str, modules: str) -> None:
    with pytest.raises(GeloraError, match=f"method={method} needs") as refused:
        plan_of(method, Budget("params", 3), modules=modules)
    found = re.search(r"the smallest possible is budget=(\d+)", str(refused.value))
    assert found
    smallest = int(found[1])
    assert 0 < plan_of(method, Budget("params", smallest), modules=modules).adapter_params <= smallest
    with pytest.raises(GeloraError, match="the smallest possible"):
        plan_of(method, Budget("params", smallest - 1), modules=modules)


@pytest.mark.parametrize("method", ["gelora", *BOUNDED])
@pytest.mark.parametrize("text", ["10", "1e1", "0.01K"])
def test_a_budget_too_small_is_named_as_it_was_given(text: str, method: str) -> None:
    with pytest.raises(GeloraError, match=f"^budget={text} gives the adapter 10 parameters, but"):
        plan_method(MAP, {}, parse_budget(text), method=method, assume_even=True)


@pytest.mark.parametrize("granularity", ["block", "module"])
def test_the_largest_ranks_are_those_of_a_budget_that_no_ranks_use(granularity: str) -> None:
    def plan(budget: str) -> RankPlan:
        return plan_method(MAP, {}, parse_budget(budget), assume_even=True, granularity=granularity)

    largest = plan("1000M")
    assert has_largest_ranks(largest, MAP) and largest.adapter_params < 1_000_000_000
    assert plan(str(largest.adapter_params)).blocks == largest.blocks
    assert not has_largest_ranks(plan(str(largest.adapter_params - 1)), MAP)


@pytest.mark.parametrize("method", BOUNDED)
def test_auto_is_what_geloras_own_ranks_cost(method: str) -> None:
    cost = plan_ranks(PROFILE, parse_budget("auto")).auto_params
    profile = profile_with_feed_forward()
    settings: dict[str, Any] = {"modules": "attention", "seed": 0}
    plan = plan_method(profile.model_map, {"idim": profile}, parse_budget("auto"), method=method, **settings)
    assert plan.budget_params == cost
    assert plan.adapter_params <= cost
    with pytest.raises(GeloraError, match="needs a profile"):
        plan_method(profile.model_map, {}, parse_budget("auto"), method=method, **settings)


def profile_with_feed_forward() -> IdProfile:
    """Return the profile with a map that has places for adapters."""
    blocks = tuple(
        replace(block, linears=(*block.linears, LinearShape(f"{block.name}.output.dense", "down", 1536, 384)))
        for block in PROFILE.model_map.blocks
    )
    return replace(PROFILE, model_map=replace(PROFILE.model_map, blocks=blocks))


@pytest.mark.parametrize(("method", "ratio", "triplets", "rank"), [("adalora", 1.1, 10, 11), ("sora", 1.4, 5, 7)])
def test_a_start_ratio_is_the_number_as_it_is_written(method: str, ratio: float, triplets: int, rank: int) -> None:
    # Of triplets in each of DeBERTa's 48 linears floats make more than 11 of 1.1 * 10, and less than 7 of 1.4 * 5.
    cost = 48 * 1537
    settings: dict[str, Any] = {
        "modules": "attention",
        "scaling": 4.0,
        "settings": MethodConfig.of(method, start_ratio=ratio),
    }
    deberta = encoder(12, 768, 3072)
    plan = plan_method(deberta, {}, Budget("params", triplets * cost), method=method, seed=0, **settings)
    assert plan.trained_params == rank * cost


def test_which_plans_need_a_profile() -> None:
    some, auto = parse_budget("0.1M"), parse_budget("auto")
    assert [name for name in METHODS.names() if METHODS.get(name).needs_profile(some)] == list(PROFILE_BASED)
    assert [name for name in METHODS.names() if not METHODS.get(name).needs_profile(auto)] == list(EXEMPT)


def test_adapters_are_refused_where_a_place_is_missing() -> None:
    blocks = tuple(replace(block, linears=block.linears[:4]) for block in MAP.blocks)
    with pytest.raises(GeloraError, match="method=pfeiffer needs a linear for down in every block"):
        plan_of("pfeiffer", parse_budget("0.1M"), replace(MAP, blocks=blocks))


@given(st.integers(1_500, 60_000), st.sampled_from(BOUNDED), st.sampled_from(["attention", "all"]))
def test_a_larger_budget_is_never_worse(bound: int, method: str, modules: str) -> None:
    plans = [plan_of(method, Budget("params", bound + more), modules=modules) for more in (0, 1, 40, 4_000)]
    assert all(first.adapter_params <= second.adapter_params for first, second in pairwise(plans))
    assert all(plan.adapter_params <= bound + more for plan, more in zip(plans, (0, 1, 40, 4_000), strict=True))


def test_module_ranks_leave_out_what_gets_none() -> None:
    plan = plan_of("eva", Budget("params", 40 * 2 * WIDTH))
    assert sum(plan.rank_pattern.values()) == 40
    names = plan.blocks[0].modules
    moved = with_module_ranks(plan, MAP, {names[0]: 3, names[2]: 1})
    assert moved.rank_pattern == {names[0]: 3, names[2]: 1}
    assert moved.adapter_params == moved.trained_params == 4 * 2 * WIDTH
    assert moved.ranks == (3, 0, 0)


def test_deberta_v3_base_at_the_budget_of_the_published_tables() -> None:
    # 0.3M on q, k, v, o: what is left of each method's budget is less than its unit.
    deberta = encoder(12, 768, 3072)
    used = {method: plan_of(method, parse_budget("0.3M"), deberta).adapter_params for method in BOUNDED}
    assert used == {
        "adalora": 195 * 1537,
        "sora": 300_000,
        "eva": 195 * 1536,
        "houlsby": 24 * 768 + 91 * 2 * 1537,
        "pfeiffer": 12 * 768 + 189 * 1537,
        "cut": 195 * 1536,
    }
