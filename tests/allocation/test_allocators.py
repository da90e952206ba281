"""Each allocator that reads another signal than the idim, or none, by numbers that can be followed by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gelora_cli.allocation.explained_variance import cut_components, even_ranks, most_components
from gelora_cli.allocation.peft_pattern import rank_pattern_json
from gelora_cli.allocation.planning import plan_method
from gelora_cli.config.schema import MethodConfig
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.budget import Budget, parse_budget
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import ALLOCATORS, METHODS
from tests.helpers.made_signals import activation_signal, drawn_signals, gradient_signal, weight_signal
from tests.helpers.planned import encoder
from tests.helpers.rank_profiles import make_profile

MAP = encoder(2)  # two blocks of q, k, v, o (32, 32), up (32, 64) and down (64, 32)
UNIT = 64  # parameters of a unit of rank on one attention linear
LINEARS = 6
"""In each block of the model; four of them are attention."""


def plan(method: str, signals: dict[str, Any], units: int, model_map: ModelMap = MAP, **keys: Any) -> RankPlan:
    """Return a plan whose budget is so many units of rank on one attention linear."""
    rules = {name: keys.pop(name) for name in ("modules", "granularity", "seed") if name in keys}
    settings = MethodConfig.of(method, **keys)
    return plan_method(model_map, signals, Budget("params", units * UNIT), method=method, settings=settings, **rules)


def module_ranks(made: RankPlan) -> list[tuple[int, ...] | None]:
    return [row.module_ranks for row in made.blocks]


@pytest.mark.parametrize("method", ["fisher", "gora", "gradrank", "sensitivity"])
def test_gradients_are_weights_of_modules_and_their_means_of_blocks(method: str) -> None:
    # The query of block 1 has 3, every other linear 1: with 16 units the averages give 4 to it and 2 or 1 elsewhere.
    signals = {"gradients": gradient_signal(MAP, lambda i: 3.0 if i == 0 else 1.0)}
    made = plan(method, signals, 16)
    # From 1 everywhere (8 units), 3/3 and 3/5 come first, then 3/7 > 1/3 of all others, then four of those.
    assert module_ranks(made) == [(5, 2, 2, 2), (2, 1, 1, 1)]
    factor = {"fisher": 1, "gora": 2, "gradrank": 3, "sensitivity": 4}[method]
    assert made.blocks[0].module_weights == tuple(factor * number for number in (3.0, 1.0, 1.0, 1.0))
    assert made.granularity == "module"
    blocks = plan(method, signals, 16, granularity="block")
    assert (blocks.granularity, module_ranks(blocks)) == ("block", [None, None])
    assert [row.weight for row in blocks.blocks] == [factor * 1.5, factor * 1.0]  # (3 + 1 + 1 + 1) / 4
    assert blocks.ranks == (2, 2)  # 1.5 / 3 comes before 1 / 3, and the second unit goes to block 2 before 1.5 / 5


def test_units_of_modules_follow_the_largest_average() -> None:
    made = plan("fisher", {"gradients": gradient_signal(MAP, lambda i: 3.0 if i == 0 else 1.0)}, 11)
    assert module_ranks(made) == [(4, 1, 1, 1), (1, 1, 1, 1)]  # 3/3, 3/5, 3/7 = .43 come before 1/3
    more = plan("fisher", {"gradients": gradient_signal(MAP, lambda i: 3.0 if i == 0 else 1.0)}, 13)
    assert module_ranks(more) == [(5, 2, 1, 1), (1, 1, 1, 1)]  # then 3/9 = 1/3 of the query comes first, and the key


def test_all_linears_cost_what_their_shapes_cost() -> None:
    signals = {"gradients": gradient_signal(MAP, lambda i: 5.0 if i == 4 else 0.0)}  # the up of block 1
    made = plan("fisher", signals, 20, modules="all")
    # Rank 1 everywhere costs 8 * 64 + 4 * 96 = 896 of 1280; four more units of 96 fit into the other 384.
    assert module_ranks(made) == [(1, 1, 1, 1, 5, 1), (1,) * LINEARS]
    assert made.adapter_params == 1280


def test_a_signal_of_another_model_is_refused() -> None:
    other = gradient_signal(encoder(1), lambda i: 1.0)
    with pytest.raises(GeloraError, match=r"gradients has no row for layer.2.attention.self.query and 3 more"):
        plan("fisher", {"gradients": other}, 16)


def test_goras_published_rules_take_the_largest_reference_rank_within_the_budget() -> None:
    signals = {"gradients": gradient_signal(MAP, lambda i: float(1 + i % LINEARS))}
    keys: dict[str, Any] = {"rank_min": 1, "rank_max": 9}
    made = plan("gora", signals, 40, budget_rule="paper", **keys)
    # Importances 1 2 3 4 of 20 in each block, f = 8: r = floor(round(8 R * 8 a) / 8). With R = 5: 16 32 48 64 / 8.
    assert module_ranks(made) == [(2, 4, 6, 8), (2, 4, 6, 8)]
    assert "GoRA's rule (paper) with reference rank 5, the largest within the budget." in made.note
    assert module_ranks(plan("gora", signals, 39, budget_rule="paper", **keys)) != module_ranks(made)
    # A larger budget meets rank_max: 9 twice in each block.
    rich = plan("gora", signals, 1000, budget_rule="paper", **keys)
    assert module_ranks(rich) == [(9, 9, 9, 9)] * 2
    # Where shapes differ, `code` counts in + out and `paper` its root, so wide linears get less by the former.
    even = {"gradients": gradient_signal(MAP, lambda i: 1.0)}
    paper = plan("gora", even, 60, modules="all", budget_rule="paper", rank_min=1)
    code = plan("gora", even, 60, modules="all", budget_rule="code", rank_min=1)
    ratios = []
    for made in (paper, code):
        ranks = made.blocks[0].module_ranks
        assert ranks is not None and made.adapter_params <= 60 * UNIT
        ratios.append(ranks[0] / ranks[4])
    assert ratios[0] < ratios[1]


def test_gora_says_what_its_smallest_rank_costs() -> None:
    signals = {"gradients": gradient_signal(MAP, lambda i: 1.0)}
    with pytest.raises(GeloraError, match=r"method.rank_min=4 everywhere costs 2,048. Give budget=2048 or more"):
        plan("gora", signals, 31, budget_rule="code")
    assert module_ranks(plan("gora", signals, 32, budget_rule="code")) == [(4,) * 4] * 2
    problems = list(MethodConfig.of("gora", budget_rule="paper", rank_min=8, rank_max=4).problems())
    assert problems == ["method.rank_min=8 is above method.rank_max=4; give a smaller one"]


def test_weights_and_activations_have_their_numbers() -> None:
    made = plan("weights", {"weights": weight_signal(MAP, lambda i: 2.0 * (i + 1))}, 16)
    assert made.blocks[0].module_weights == (2.0, 4.0, 6.0, 8.0)
    assert made.granularity == "module"
    signals = {"activations": activation_signal(MAP, lambda i: (0.5,))}
    made = plan("activations", signals, 16)
    assert made.granularity == "block"
    assert [row.weight for row in made.blocks] == [11.5, 17.5]  # means of 10 11 12 13, and of 16 17 18 19
    ratio = plan("activations", signals, 16, measure="participation_ratio", granularity="module")
    assert ratio.blocks[0].module_weights == (20.0, 19.9, 19.8, 19.7)


def test_evas_ranks_are_components_before_the_cut_and_may_leave_modules_out() -> None:
    shares = {0: (0.9, 0.8, 0.7, 0.1), 1: (0.6, 0.5, 0.01, 0.01)}
    signals = {"activations": activation_signal(MAP, lambda i: shares.get(i, (0.02, 0.01, 0.01, 0.01)))}
    made = plan("eva_ranks", signals, 8, rho=4.0)  # 8 units: even rank 1, and at most 4 in each module
    # .9 .8 .7 .6 .5 .1, then .02 of value and output of block 1.
    assert module_ranks(made) == [(4, 2, 1, 1), (0, 0, 0, 0)]
    assert made.blocks[1].rank == 0
    pattern = rank_pattern_json(made)
    assert len(pattern["target_modules"]) == 4 and pattern["r"] == 4
    bounded = plan("eva_ranks", signals, 8, rho=2.0)
    assert module_ranks(bounded) == [(2, 2, 1, 1), (1, 1, 0, 0)]
    blocks = plan("eva_ranks", signals, 8, granularity="block", rho=4.0)
    assert blocks.ranks == (2, 0)  # a unit of rank costs four there


def test_more_components_than_were_measured_are_refused() -> None:
    signals = {"activations": activation_signal(MAP, lambda i: (0.9, 0.8) if i == 0 else (0.1, 0.1))}
    with pytest.raises(GeloraError, match=r"all 2 components that were measured of .*query are taken, and up to 4"):
        plan("eva_ranks", signals, 16, rho=2.0)
    with pytest.raises(GeloraError, match="one unit of rank costs 64; the smallest possible is budget=64"):
        plan("eva_ranks", signals, 0)


@pytest.mark.parametrize(("variant", "smallest"), [("lora", UNIT), ("dora", UNIT + 8 * 32)])
def test_evas_ranks_are_refused_before_they_are_measured_only_below_one_unit(variant: str, smallest: int) -> None:
    def made(budget: int) -> RankPlan:
        given = parse_budget(str(budget))
        return plan_method(MAP, {}, given, method="eva_ranks", assume_even=True, variant=variant)

    assert sum(made(smallest).rank_pattern.values()) == 1  # a linear may be left out
    with pytest.raises(GeloraError, match=f"the smallest possible is budget={smallest}"):
        made(smallest - 1)


def test_components_are_cut_at_the_parameter_budget_in_their_own_order() -> None:
    shares, costs = [[0.5, 0.2, 0.1], [0.4, 0.3, 0.05], [0.01]], [8, 16, 8]
    assert cut_components(shares, costs, 48) == (2, 2, 0)
    assert cut_components(shares, costs, 47) == (1, 2, 0)
    assert cut_components(shares, costs, 39) == (1, 1, 0)  # the next costs 16: cut, not passed over
    assert cut_components([[0.5], [0.4], [0.5]], costs, 16) == (1, 0, 1)
    assert even_ranks(costs, (9, 9, 9), 40) == (2, 2, 1)
    assert (most_components(2.0, 4, 384), most_components(2.0, 4, 6), most_components(9.0, 4, 3)) == (8, 6, 4)


def test_depth_rises_falls_or_is_at_the_top() -> None:
    deep = encoder(4)
    assert plan("depth", {}, 4 * 14, deep).ranks == (1, 3, 4, 6)  # by hand: 4/3 1 4/5 2/3 3/5 4/7 4/9 3/7 2/5 4/11
    assert plan("depth", {}, 4 * 14, deep, shape="falling").ranks == (6, 4, 3, 1)
    top = plan("depth", {}, 4 * 14, deep, shape="top", top=2)
    assert top.ranks == (0, 0, 7, 7)
    assert list(top.rank_pattern) == [linear.name for block in deep.blocks[2:] for linear in block.linears[:4]]
    with pytest.raises(GeloraError, match=r"method.top=5: the model has 4 blocks; give 4 or less"):
        plan("depth", {}, 56, deep, shape="top", top=5)
    with pytest.raises(GeloraError, match="rank 1 where the method adapts costs 512; the smallest possible"):
        plan("depth", {}, 7, deep, shape="top", top=2)
    assert module_ranks(plan("depth", {}, 5, deep, shape="top", granularity="module"))[3] == (2, 1, 1, 1)


@pytest.mark.parametrize("method", ["fisher", "gora", "gradrank", "sensitivity", "eva_ranks", "activations"])
def test_a_sampled_signal_is_resampled_tenth_by_tenth(method: str) -> None:
    allocator = ALLOCATORS.get(METHODS.get(method).allocator)
    signal: Any = drawn_signals(MAP)[allocator.signal]
    resampled = allocator.resampled(signal)
    assert len(resampled) == 10
    for other in resampled:
        made = plan(method, {allocator.signal: other}, 16)
        assert made.adapter_params <= 16 * UNIT
    if allocator.signal == "gradients":  # the t-th tenth has 1 + t / 100 times the number
        firsts = [other.linears[0].numbers.fisher for other in resampled]
        assert firsts == [signal.linears[0].jackknife[t].fisher for t in range(10)]
        assert len(set(firsts)) == 10
        (without,) = {row.jackknife for row in resampled[0].linears}
        assert without == ()
        old = replace(signal, linears=tuple(replace(row, jackknife=()) for row in signal.linears))
        assert list(allocator.resampled(old)) == []


def test_a_plan_of_another_signal_says_what_it_equals() -> None:
    profile = make_profile((1.0, 1.0, 4.0), [(32, 32)] * 2)
    names = [linear.name for block in profile.model_map.blocks for linear in block.linears]
    assert len(names) == 8
    signals: dict[str, Any] = {"idim": profile}
    gelora = plan("gelora", signals, 32, profile.model_map)
    # The weights of GeLoRA are 1 and 4, its lower bounds 1 and 3.
    assert gelora.ranks == (2, 6)
    signals["gradients"] = gradient_signal(profile.model_map, lambda i: 1.0 if i < 4 else 4.0)
    same = plan("fisher", signals, 32, profile.model_map)
    assert same.rank_pattern == gelora.rank_pattern
    assert "The plan equals GeLoRA's, so method=gelora trains the same." in same.note
    assert (same.gelora_ranks, same.uniform_ranks) == ((2, 6), (4, 4))
    signals["gradients"] = gradient_signal(profile.model_map, lambda i: 1.0)
    even = plan("fisher", signals, 32, profile.model_map)
    assert "The plan equals the uniform one, so method=lora trains the same." in even.note


def test_auto_is_what_geloras_ranks_cost_for_every_signal() -> None:
    profile = make_profile((1.0, 1.0, 4.0), [(32, 32)] * 2)
    signals = {"idim": profile, **drawn_signals(profile.model_map)}
    for method in ("fisher", "gora", "gradrank", "sensitivity", "eva_ranks", "activations", "weights", "depth"):
        assert METHODS.get(method).needs_profile(parse_budget("auto"))
        made = plan_method(profile.model_map, signals, parse_budget("auto"), method=method)
        assert made.auto_params - 4 * UNIT < made.adapter_params <= made.auto_params == 5 * 4 * UNIT


def test_what_scales_all_gradients_of_a_sample_is_no_noise_of_the_plan() -> None:
    # Some batches have squared gradients twice as large as others, in all linears alike.
    signals = {"gradients": gradient_signal(MAP, lambda i: 9.0 if i == 0 else 1.0, spread=0.06)}
    stability = plan("fisher", signals, 20).stability
    assert stability is not None
    assert (stability.verdict, stability.agreement) == ("stable", 1.0)
