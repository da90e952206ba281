"""The controls: same units, other blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.controls import draw_ranks, reverse_ranks, shuffle_ranks
from gelora_cli.allocation.problem import AllocationProblem, Rule, make_targets
from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.core.budget import Budget, parse_budget
from gelora_cli.core.errors import GeloraError
from tests.helpers.rank_profiles import MINILM, UNIT, make_profile, units

CONTROLS: dict[str, Callable[[Ranks, Callable[[Ranks], bool], int], Ranks]] = {
    "shuffled": shuffle_ranks,
    "random": draw_ranks,
    "reversed": lambda ranks, is_feasible, seed: reverse_ranks(ranks, is_feasible),
}
RANKS = st.lists(st.integers(1, 12), min_size=2, max_size=12).map(tuple)


def anything(_: tuple[int, ...]) -> bool:
    return True


@given(RANKS, st.sampled_from(sorted(CONTROLS)), st.integers(0, 1000))
def test_a_control_keeps_the_total_and_every_block(ranks: tuple[int, ...], name: str, seed: int) -> None:
    found = CONTROLS[name](ranks, anything, seed)
    assert sum(found) == sum(ranks)
    assert min(found) >= 1
    assert len(found) == len(ranks)
    assert found == CONTROLS[name](ranks, anything, seed)


@given(RANKS, st.integers(0, 1000))
def test_shuffled_is_a_permutation_that_changes_the_plan_where_one_can(ranks: tuple[int, ...], seed: int) -> None:
    found = shuffle_ranks(ranks, anything, seed)
    assert sorted(found) == sorted(ranks)
    assert (found == ranks) is (len(set(ranks)) == 1)


def test_random_is_uniform_over_the_assignments() -> None:
    counts = Counter(draw_ranks((1, 2, 3), anything, seed) for seed in range(2_000))
    assert len(counts) == 10  # ways to write 6 as three numbers from 1
    assert all(abs(count - 200) < 5 * 200**0.5 for count in counts.values())


def test_what_does_not_fit_is_refused() -> None:
    for control in CONTROLS.values():
        with pytest.raises(GeloraError, match="take another budget or method"):
            control((1, 2, 3), lambda _: False, 0)


def test_ranks_that_nothing_is_drawn_for_are_tried_once() -> None:
    tried: list[Ranks] = []

    def refuse(ranks: Ranks) -> bool:
        tried.append(ranks)
        return False

    with pytest.raises(GeloraError, match="take another budget or method"):
        reverse_ranks((1, 2, 3), refuse)
    assert tried == [(3, 2, 1)]


def test_what_a_unit_costs_is_computed_once_for_all_ranks_that_are_tried() -> None:
    targets = make_targets(MINILM.model_map, "attention")
    problem = AllocationProblem(targets=targets, rule=Rule(), bound=10**6, auto_params=0, budget="1M")
    assert problem.is_feasible(problem.ones)
    assert problem.costs is problem.costs
    assert problem.caps is problem.caps
    assert problem.fixed_costs is problem.fixed_costs
    assert replace(problem) == problem
    assert replace(problem, targets=targets[:2]).costs == problem.costs[:2]


@pytest.mark.parametrize("budget", [units(15), parse_budget("auto"), Budget("params", 40 * UNIT + 17)])
@pytest.mark.parametrize("method", ["lora", *CONTROLS])
def test_every_control_costs_what_gelora_costs(method: str, budget: Budget) -> None:
    gelora = plan_ranks(MINILM, budget)
    plan = plan_ranks(MINILM, budget, method=method, seed=1)
    assert plan.method == method
    assert plan.adapter_params == gelora.adapter_params
    assert plan.gelora_ranks == gelora.ranks == gelora.gelora_ranks
    assert plan.ranks != gelora.ranks
    assert f"GeLoRA's ranks: {' '.join(map(str, gelora.ranks))}." in plan.note
    assert ("Uniform ranks don't follow the profile." in plan.note) == (method == "lora")
    assert all(row.rank_low is row.rank_high is None for row in plan.blocks)


def test_reversed_and_uniform_ranks() -> None:
    ranks = plan_ranks(MINILM, units(15)).ranks
    assert plan_ranks(MINILM, units(15), method="reversed").ranks == ranks[::-1]
    assert plan_ranks(MINILM, units(15), method="lora").ranks == (3, 3, 3, 2, 2, 2)


def test_plans_that_coincide_say_so() -> None:
    flat = make_profile((5, 5, 5, 5))
    for method in ("lora", "shuffled", "reversed"):
        assert "This plan equals GeLoRA's" in plan_ranks(flat, units(6), method=method).note
    assert "The plan equals the uniform one" in plan_ranks(flat, units(6)).note


def test_uniform_ranks_go_below_geloras_lower_bounds() -> None:
    plan = plan_ranks(MINILM, units(7), method="lora")
    assert plan.ranks == (2, 1, 1, 1, 1, 1)
    assert plan.gelora_ranks == ()
    assert "GeLoRA itself can't meet this budget" in plan.note
    with pytest.raises(GeloraError, match="the smallest possible is budget=18432"):
        plan_ranks(MINILM, units(5), method="lora")
    with pytest.raises(GeloraError, match="lower bounds"):
        plan_ranks(MINILM, units(7), method="shuffled")


def test_blocks_of_unlike_cost_keep_within_the_budget() -> None:
    profile = make_profile((1, 2, 12), [(8, 8), (64, 64)])
    gelora = plan_ranks(profile, Budget("params", 6_000))
    for seed in range(3):
        for method in ("shuffled", "random"):
            try:
                plan = plan_ranks(profile, Budget("params", 6_000), method=method, seed=seed)
            except GeloraError as error:
                assert "take another budget or method" in str(error)
            else:
                assert plan.adapter_params <= 6_000
                assert sum(plan.ranks) == sum(gelora.ranks)
                assert plan.ranks[0] <= 8


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(GeloraError, match=r"method=alora given; accepted: gelora, lora, shuffled"):
        plan_ranks(MINILM, units(15), method="alora")
