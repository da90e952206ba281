from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gelora_cli.allocation.formatting import format_plan
from gelora_cli.allocation.peft_pattern import rank_pattern_json
from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.budget import Budget, max_ranks, parse_budget, unit_costs
from gelora_cli.core.codec import from_json, to_json
from gelora_cli.core.errors import GeloraError
from tests.helpers.rank_profiles import MINILM, UNIT, idims, make_profile, units


@pytest.mark.parametrize(
    ("rounding", "ranks"), [("up", (4, 1, 3, 1, 4, 1)), ("nearest", (4, 1, 2, 1, 4, 1)), ("down", (3, 1, 2, 1, 4, 1))]
)
def test_auto_is_the_rounded_rule(rounding: str, ranks: tuple[int, ...]) -> None:
    plan = plan_ranks(MINILM, parse_budget("auto"), rounding=rounding)
    assert plan.ranks == plan.auto_ranks == ranks
    assert [row.growth for row in plan.blocks] == [2.5, 0, 1.2, 0, 3, 0]
    assert [row.real_rank for row in plan.blocks] == [3.5, 1, 2.2, 1, 4, 1]
    assert [row.lower_bound for row in plan.blocks] == [3, 1, 2, 1, 3, 1]
    assert plan.budget_params is None
    assert plan.adapter_params == plan.auto_params == sum(ranks) * UNIT


@pytest.mark.parametrize(
    ("count", "ranks"),
    [
        # Averages at the start: 3.5/7 1/3 2.2/5 1/3 4/7 1/3, so blocks 5, 1 (then 3.5/9), 5 (4/9), 3 (2.2/5), 1.
        (11, (3, 1, 2, 1, 3, 1)),
        (12, (3, 1, 2, 1, 4, 1)),
        (13, (4, 1, 2, 1, 4, 1)),
        (14, (4, 1, 2, 1, 5, 1)),
        (15, (4, 1, 3, 1, 5, 1)),
        (16, (5, 1, 3, 1, 5, 1)),
    ],
)
def test_units_go_to_the_largest_average(count: int, ranks: tuple[int, ...]) -> None:
    plan = plan_ranks(MINILM, units(count))
    assert plan.ranks == ranks
    assert plan.adapter_params == count * UNIT == plan.budget_params
    assert plan_ranks(MINILM, Budget("params", (count + 1) * UNIT - 1)).ranks == ranks


def test_shrink_hands_units_only_to_blocks_below_their_bound() -> None:
    # From 1 1 1 1 1 1: averages 3.5/3 . 2.2/3 . 4/3 . give block 5, 1, 5 (4/5); blocks 2, 4, 6 are at their bound.
    plan = plan_ranks(MINILM, units(9), on_deficit="shrink")
    assert plan.ranks == (2, 1, 1, 1, 3, 1)
    assert "Blocks 1, 3 are below" in plan.note
    assert plan_ranks(MINILM, units(6), on_deficit="shrink").ranks == (1,) * 6
    assert plan_ranks(MINILM, units(15), on_deficit="shrink").ranks == plan_ranks(MINILM, units(15)).ranks


def test_shrink_passes_over_a_block_at_its_bound_even_if_its_average_is_the_largest() -> None:
    # Growth 1 and 10, bounds 1 and 10: at 1 and 8 the averages are 2/3 and 11/17.
    assert plan_ranks(make_profile((1, 2, 12)), units(10), on_deficit="shrink").ranks == (1, 9)


def test_rule_growth_leaves_blocks_without_growth_at_one() -> None:
    # Weights 2.5 . 1.2 . 3 . from 1: blocks 5 1 5 1 5 3 1 5 1.
    plan = plan_ranks(MINILM, units(15), rule="growth")
    assert plan.ranks == (5, 1, 2, 1, 5, 1)
    assert plan.auto_ranks == (3, 1, 2, 1, 3, 1)
    assert "below the lower bound (ranks.rule=growth)" in plan_ranks(MINILM, units(6), rule="growth").note


def test_rule_growth_without_any_growth_is_uniform() -> None:
    plan = plan_ranks(make_profile((9, 8, 8, 7)), units(8), rule="growth")
    assert plan.ranks == plan.uniform_ranks == (3, 3, 2)


def test_rule_growth_hands_nothing_to_a_block_without_growth_when_the_others_are_full() -> None:
    profile = make_profile((5, 6, 6), [(3, 3), (3, 3)])
    plan = plan_ranks(profile, Budget("params", 10_000), rule="growth")
    assert plan.ranks == (3, 1)


def test_nearest_rounds_halves_up() -> None:
    assert plan_ranks(make_profile((1, 2.5, 5)), parse_budget("auto"), rounding="nearest").ranks == (3, 4)


def test_decimal_growths_are_exact() -> None:
    # 4.4 - 3.4 is 1.0000000000000004 in binary, and its ceiling 2; 0.3 - 0.2 differs from 0.2 - 0.1.
    assert plan_ranks(make_profile((3.4, 4.4)), parse_budget("auto")).blocks[0].lower_bound == 1
    assert plan_ranks(make_profile((3.4, 4.4)), parse_budget("auto")).ranks == (2,)
    tied = plan_ranks(make_profile((10.1, 10.2, 10.3, 10.4)), units(5))
    assert tied.ranks == (2, 2, 1)
    assert "all blocks grow by the same" in tied.note
    # 0.3/3 and, after one unit, 0.5/5 tie; the binary 0.3 is less than 3/10.
    assert plan_ranks(make_profile((5.0, 5.3, 5.8)), units(4), rule="growth").ranks == (2, 2)


@pytest.mark.parametrize(("on_deficit", "smallest"), [("error", 11), ("shrink", 6)])
def test_below_the_smallest_budget_the_error_names_it(on_deficit: str, smallest: int) -> None:
    given = Budget("params", smallest * UNIT - 1)
    with pytest.raises(GeloraError) as caught:
        plan_ranks(MINILM, given, on_deficit=on_deficit)
    named = re.search(r"the smallest possible is budget=(\d+)\.", str(caught.value))
    assert named and int(named[1]) == smallest * UNIT
    assert f"budget={given.name} " in str(caught.value)
    assert ("on_deficit=shrink" in str(caught.value)) == (on_deficit == "error")
    assert plan_ranks(MINILM, parse_budget(named[1]), on_deficit=on_deficit).adapter_params == int(named[1])


def test_ranks_at_the_ends_of_the_interval() -> None:
    layers = list(MINILM.layers)
    layers[0] = replace(layers[0], low=4.6, high=5.3)
    layers[1] = replace(layers[1], low=7.2, high=7.8)
    profile = replace(MINILM, layers=tuple(layers))
    # Block 1 grows by 7.2 - 5.3 = 1.9 or by 7.8 - 4.6 = 3.2.
    row = plan_ranks(profile, parse_budget("auto")).blocks[0]
    assert (row.rank_low, row.rank, row.rank_high) == (3, 4, 5)
    # 1.9: from 2 1 2 1 3 1 the unit goes to 2.9/5, before 4/7. 3.2: the bounds 4 1 2 1 3 1 need 12 units.
    row = plan_ranks(profile, units(11)).blocks[0]
    assert (row.rank_low, row.rank, row.rank_high) == (3, 3, None)
    assert plan_ranks(profile, units(12)).blocks[0].rank_high == 4
    assert plan_ranks(profile, units(11), on_deficit="shrink").blocks[0].rank_high == 3


NO_PREFERENCE = "no block's idim grows, so the rule has no preference"


@pytest.mark.parametrize(
    ("idims", "budget", "rules", "reason"),
    [
        ((5.0, 4.0, 3.0, 2.5), units(8), {}, NO_PREFERENCE),
        ((5.0, 4.0, 3.0, 2.5), parse_budget("auto"), {"rule": "growth"}, NO_PREFERENCE),
        ((5.0, 4.0, 3.0, 2.5), units(4), {"on_deficit": "shrink"}, NO_PREFERENCE),
        ((1.0, 1.5, 2.0, 2.5), units(8), {}, "all blocks grow by the same"),
        ((1.0, 1.1, 1.1, 1.4), units(3), {}, "the growths differ"),
        ((1.0, 4.5, 4.5, 6.0), units(3), {"on_deficit": "shrink"}, "the growths differ"),
        ((1.0, 4.5), units(7), {}, "there is one block"),
        ((1.0, 4.5, 4.5), units(5_000), {}, "every block is full"),
    ],
)
def test_why_a_plan_is_the_uniform_one(
    idims: tuple[float, ...], budget: Budget, rules: dict[str, Any], reason: str
) -> None:
    profile = make_profile(idims)
    plan = plan_ranks(profile, budget, **rules)
    assert plan.ranks == plan.uniform_ranks == plan_ranks(profile, budget, method="lora", **rules).ranks
    assert f"method=lora trains the same: {reason}" in plan.note


def test_why_a_block_is_below_its_lower_bound() -> None:
    for method in ("lora", "reversed"):  # which follow no bounds, whatever ranks.on_deficit is
        assert "lower bound" not in plan_ranks(MINILM, units(12), method=method).note
    down = plan_ranks(MINILM, parse_budget("auto"), rule="growth", rounding="down")
    assert down.ranks == (2, 1, 1, 1, 3, 1)
    assert "Blocks 1, 3 are below the lower bound (ranks.rounding=down)." in down.note
    shrunk = plan_ranks(MINILM, units(7), on_deficit="shrink")
    assert "below the lower bound (ranks.on_deficit=shrink)" in shrunk.note


def test_what_a_control_says_of_the_budget_auto() -> None:
    own = plan_ranks(MINILM, parse_budget("auto"))
    assert "budget auto: the rule's own ranks" in format_plan(own)
    lora = plan_ranks(MINILM, parse_budget("auto"), method="lora")
    line = "budget auto, which is what the rule's own ranks cost: 43,008 of 43,008 parameters used"
    assert line in format_plan(lora)
    assert "auto gives" not in plan_ranks(MINILM, units(14), method="lora").note


def test_a_control_says_where_geloras_ranks_are_the_uniform_ones() -> None:
    level = make_profile((5.0, 4.0, 3.0, 2.5))
    assert "GeLoRA's ranks: 3 3 2" in plan_ranks(level, units(8), method="reversed").note
    assert plan_ranks(MINILM, units(15), method="reversed").note == "For comparison, GeLoRA's ranks: 4 1 3 1 5 1."


def test_notes() -> None:
    assert plan_ranks(MINILM, units(15)).note == ""
    flat = plan_ranks(make_profile((5, 5.01, 5.0, 5.02)), units(6))
    assert flat.ranks == (2, 2, 2)
    assert "the growths differ" in flat.note
    assert "other ranks: 4 1 3 1 4 1" in plan_ranks(MINILM, units(14)).note
    assert "auto gives the same ranks" in plan_ranks(make_profile((1, 1, 1)), units(2)).note
    full = plan_ranks(make_profile((5, 9, 9), [(3, 8), (3, 8)]), Budget("params", 5 * 44))
    assert full.ranks == (3, 2)
    assert "Block 1 is full" in full.note


def test_uniform_ranks_of_a_uniform_budget() -> None:
    assert plan_ranks(MINILM, parse_budget("rank:3")).uniform_ranks == (3,) * 6
    assert plan_ranks(MINILM, parse_budget("auto")).uniform_ranks == (3, 3, 2, 2, 2, 2)


def test_the_plan_carries_what_it_was_made_from() -> None:
    plan = plan_ranks(MINILM, parse_budget("0.2%"), method="shuffled", scaling=16.0)
    assert (plan.method, plan.scaling, plan.budget, plan.budget_params) == ("shuffled", 16.0, "0.2pct", 45_426)
    assert (plan.head_params, plan.backbone_params) == (770, 22_713_216)
    assert plan.rank_pattern["encoder.layer.4.attention.output.dense"] == plan.ranks[4]
    assert from_json(RankPlan, to_json(plan)) == plan


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"rule": "growht"}, "rule=growht given; accepted: growth+1, growth"),
        ({"rounding": "even"}, "rounding=even"),
        ({"on_deficit": "ignore"}, "on_deficit=ignore"),
        ({"modules": "mlp"}, "method.modules=mlp"),
        ({"scaling": 0.0}, "scaling=0.0"),
    ],
)
def test_unknown_options(given: dict[str, Any], part: str) -> None:
    with pytest.raises(GeloraError, match=re.escape(part)):
        plan_ranks(MINILM, parse_budget("auto"), **given)


def test_a_profile_that_does_not_fit_its_model() -> None:
    with pytest.raises(GeloraError, match="6 blocks need 0 to 6"):
        plan_ranks(replace(MINILM, layers=MINILM.layers[1:]), parse_budget("auto"))
    with pytest.raises(GeloraError, match="finite"):
        plan_ranks(make_profile((5.0, float("nan"))), parse_budget("auto"))


def test_the_table_shows_blocks_totals_and_budget() -> None:
    plan = plan_ranks(MINILM, units(14))
    lines = format_plan(plan).splitlines()
    assert lines[1].split() == ["1", "5.000", "7.500", "2.500", "3.500", "4", "3..5", "12,288"]
    assert len({len(line) for line in lines[:7]}) == 1
    shown = "\n".join(lines[7:])
    for part in ("43,008 parameters (0.189 % of the backbone)", "head 770", "backbone 22,713,216"):
        assert part in shown
    assert "budget 0.043008M: 43,008 of 43,008 parameters used (100.0 %)" in shown
    old = "stability: not measured in this profile; measure again with force=true"
    assert shown.endswith(f"{plan.note}\n{old}")
    unknown: dict[str, Any] = {"idim_in": None, "idim_out": None, "rank_low": None, "rank_high": None, "weight": None}
    without = tuple(replace(row, **unknown) for row in plan.blocks)
    assert format_plan(replace(plan, blocks=without)).splitlines()[1].split()[1:3] == ["-", "-"]


# --- properties ---

side = st.integers(2, 7)


@st.composite
def profiles(draw: st.DrawFn) -> IdProfile:
    """Draw one to six blocks whose modules differ in shape, so that units differ in cost."""
    count = draw(st.integers(1, 6))
    sides = draw(st.lists(st.tuples(side, side), min_size=count, max_size=count))
    scale = draw(st.sampled_from([1.0, 0.1]))
    values = [round(d * scale, 3) for d in draw(st.lists(idims, min_size=count + 1, max_size=count + 1))]
    return make_profile(values, sides, draw(st.sampled_from([0.0, 0.125, 1.0])))


options = st.fixed_dictionaries(
    {"rule": st.sampled_from(["growth+1", "growth"]), "on_deficit": st.sampled_from(["error", "shrink"])}
)
bounds = st.integers(1, 1500)
untimed = settings(deadline=None, max_examples=80)


def planned(profile: IdProfile, bound: int, given: dict[str, Any]) -> RankPlan:
    try:
        return plan_ranks(profile, Budget("params", bound), **given)
    except GeloraError:
        assume(False)
        raise


def by_definition(profile: IdProfile, bound: int, rule: str) -> tuple[int, ...] | None:
    """Sort every possible unit by its average, and take them until one doesn't fit; None below the lower bounds."""
    exact = [Fraction(Decimal(str(row.idim))) for row in profile.layers]
    growths = [max(b - a, Fraction(0)) for a, b in itertools.pairwise(exact)]
    if rule == "growth+1":
        weights = [growth + 1 for growth in growths]
    else:
        weights = growths if any(growths) else [Fraction(1)] * len(growths)
    costs, caps = unit_costs(profile.model_map, "attention"), max_ranks(profile.model_map, "attention")
    ranks = [min(cap, max(1, -int(-g // 1)) if rule == "growth+1" else 1) for g, cap in zip(growths, caps, strict=True)]
    left = bound - sum(n * c for n, c in zip(ranks, costs, strict=True))
    if left < 0:
        return None
    waiting = []
    for i, weight in enumerate(weights):
        if weight:
            waiting += [(-weight / (2 * rank + 1), i) for rank in range(ranks[i], caps[i])]
    for _, i in sorted(waiting):
        left -= costs[i]
        if left < 0:
            break
        ranks[i] += 1
    return tuple(ranks)


@untimed
@given(profiles(), bounds, st.sampled_from(["growth+1", "growth"]))
def test_the_plan_is_what_the_definition_says(profile: IdProfile, bound: int, rule: str) -> None:
    expected = by_definition(profile, bound, rule)
    if expected is None:
        with pytest.raises(GeloraError):
            plan_ranks(profile, Budget("params", bound), rule=rule)
    else:
        assert plan_ranks(profile, Budget("params", bound), rule=rule).ranks == expected


@untimed
@given(profiles(), bounds, options)
def test_bounds_hold(profile: IdProfile, bound: int, given: dict[str, Any]) -> None:
    plan = planned(profile, bound, given)
    costs, caps = unit_costs(profile.model_map, "attention"), max_ranks(profile.model_map, "attention")
    assert plan.adapter_params == sum(n * c for n, c in zip(plan.ranks, costs, strict=True)) <= bound
    assert sum(n * c for n, c in zip(plan.uniform_ranks, costs, strict=True)) <= bound
    assert all(1 <= n <= cap for n, cap in zip(plan.ranks, caps, strict=True))
    assert all(1 <= n <= cap for n, cap in zip(plan.auto_ranks, caps, strict=True))
    lower = [row.lower_bound or 0 for row in plan.blocks]
    affordable = sum(n * c for n, c in zip(lower, costs, strict=True)) <= bound
    if given["rule"] == "growth+1" and affordable:
        assert all(n >= low for n, low in zip(plan.ranks, lower, strict=True))
    if given["rule"] == "growth+1" and not affordable:
        assert all(n <= low for n, low in zip(plan.ranks, lower, strict=True))
        assert "ranks.on_deficit=shrink" in plan.note


@settings(deadline=None, max_examples=25)
@given(profiles(), bounds)
def test_what_is_left_is_less_than_the_next_unit_costs(profile: IdProfile, bound: int) -> None:
    plan = planned(profile, bound, {})
    richer = plan_ranks(profile, Budget("params", bound + 10_000))
    following = next(
        (
            p
            for b in range(bound + 1, bound + 57)
            if (p := plan_ranks(profile, Budget("params", b))).ranks != plan.ranks
        ),
        None,
    )
    if following is None:
        assert plan.ranks == richer.ranks == max_ranks(profile.model_map, "attention")
    else:
        grown = [b - a for a, b in zip(plan.ranks, following.ranks, strict=True)]
        assert sorted(grown) == [0] * (len(grown) - 1) + [1]
        assert following.adapter_params > bound


@untimed
@given(profiles(), bounds, st.integers(0, 600), options)
def test_a_larger_budget_never_takes_a_rank_away(
    profile: IdProfile, bound: int, more: int, given: dict[str, Any]
) -> None:
    plan = planned(profile, bound, given)
    larger = plan_ranks(profile, Budget("params", bound + more), **given)
    assert all(a <= b for a, b in zip(plan.ranks, larger.ranks, strict=True))
    assert all(a <= b for a, b in zip(plan.uniform_ranks, larger.uniform_ranks, strict=True))


@untimed
@given(profiles(), bounds, options)
def test_the_ends_of_the_interval_enclose_the_rank(profile: IdProfile, bound: int, given: dict[str, Any]) -> None:
    for plan in (planned(profile, bound, given), plan_ranks(profile, parse_budget("auto"), **given)):
        for row in plan.blocks:
            assert row.rank_low is not None
            assert row.rank_low <= row.rank
            assert row.rank_high is None or row.rank <= row.rank_high
            assert row.rank_high is not None or (given["on_deficit"] == "error" and plan.budget != "auto")


@untimed
@given(profiles(), bounds, st.integers(2, 50))
def test_rule_growth_depends_on_ratios_of_growth_alone(profile: IdProfile, bound: int, factor: int) -> None:
    plan = planned(profile, bound, {"rule": "growth"})
    layers = [replace(row, idim=float(Decimal(str(row.idim)) * factor)) for row in profile.layers]
    scaled = plan_ranks(replace(profile, layers=tuple(layers)), Budget("params", bound), rule="growth")
    assert scaled.ranks == plan.ranks


@untimed
@given(profiles(), bounds, options)
def test_planning_twice_gives_the_same_plan(profile: IdProfile, bound: int, given: dict[str, Any]) -> None:
    again = from_json(IdProfile, to_json(profile))
    assert planned(profile, bound, given) == plan_ranks(again, Budget("params", bound), **given)


@untimed
@given(st.integers(1, 12), st.integers(1, 40), st.floats(0, 30))
def test_equal_weights_tie_exactly(blocks: int, more: int, growth: float) -> None:
    step = Decimal(str(round(growth, 3)))
    profile = make_profile([float(step * i) for i in range(blocks + 1)])
    lower = plan_ranks(profile, parse_budget("auto")).blocks[0].lower_bound or 0
    plan = plan_ranks(profile, units(lower * blocks + more))
    assert list(plan.ranks) == [lower + (more + blocks - 1 - i) // blocks for i in range(blocks)]


# --- real PEFT ---


@pytest.mark.parametrize("scaling", [32.0, 0.5])
def test_peft_takes_the_pattern_as_it_is(scaling: float) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraLayer
    from transformers import BertConfig, BertModel

    config = BertConfig(
        num_hidden_layers=12, hidden_size=16, num_attention_heads=2, intermediate_size=24, vocab_size=30
    )
    with torch.random.fork_rng():
        model = BertModel(config)
    values = [5.0 + 0.7 * (i % 5) for i in range(13)]
    plan = plan_ranks(make_profile(values, [(16, 16)] * 12), parse_budget("rank:4"), scaling=scaling)
    assert plan.ranks[1] != plan.ranks[11] or plan.ranks[0] != plan.ranks[10]  # layer.1 and layer.11 can be told apart
    assert len(set(plan.ranks)) > 1

    written = json.loads(json.dumps(rank_pattern_json(plan)))
    adapted = get_peft_model(model, LoraConfig(**written)).get_base_model()
    layers = {name: module for name, module in adapted.named_modules() if isinstance(module, LoraLayer)}
    assert {name: layer.r["default"] for name, layer in layers.items()} == plan.rank_pattern
    assert all(layer.lora_A["default"].out_features == plan.rank_pattern[name] for name, layer in layers.items())
    assert {layer.scaling["default"] for layer in layers.values()} == {scaling}
    adapter = sum(p.numel() for name, p in adapted.named_parameters() if ".lora_" in name)
    assert adapter == plan.adapter_params


def test_every_key_matches_one_module_and_no_other() -> None:
    plan = plan_ranks(make_profile([5.0 + i % 3 for i in range(13)]), parse_budget("auto"))
    written = rank_pattern_json(plan)
    assert written["rank_pattern"].keys() == written["alpha_pattern"].keys()
    for key, rank in written["rank_pattern"].items():
        names = [name.replace(".", "x", 1) for name in plan.rank_pattern] + list(plan.rank_pattern)
        hits = [name for name in names if re.match(rf"(.*\.)?({key})$", name)]
        assert len(hits) == 1
        assert plan.rank_pattern[hits[0]] == rank
        assert written["alpha_pattern"][key] == 32 * rank
