"""Is a plan the same with another sample? Formulas by hand, verdicts on profiles with known growth."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import replace
from fractions import Fraction

import pytest
from scipy import stats

from gelora_cli.allocation.base import Allocator
from gelora_cli.allocation.formatting import format_plan
from gelora_cli.allocation.growth import Growth, neighbour_excess
from gelora_cli.allocation.jackknife import inflate, inflate_weights, kendall_tau, spread, tail_probability
from gelora_cli.allocation.planning import plan_method
from gelora_cli.allocation.problem import AllocationProblem, Rule, Weights, make_targets
from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.allocation.stability import agreement, describe_stability, has_preference, summarize_stability
from gelora_cli.core.artifacts.plan import PlanStability, RankPlan
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import from_json, to_json
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import ALLOCATORS
from tests.helpers.rank_profiles import IDIMS, MINILM, make_profile, with_tenths

FLAT = make_profile((5.0,) * 7)
ONE = make_profile((5.0, 5.0, 5.0, 8.0, 8.0, 8.0, 8.0))  # only block 3 grows
RANK4 = parse_budget("rank:4")


def stability_of(plan: RankPlan) -> PlanStability:
    assert plan.stability is not None
    return plan.stability


def test_inflated_replicates_have_the_jackknife_s_variance() -> None:
    replicates = [2.0, 2.1, 1.9, 2.0, 2.3, 1.8, 2.0, 2.0, 2.2, 1.7]
    inflated = inflate(5.0, replicates)
    mean = statistics.fmean(replicates)
    assert inflated[4] == pytest.approx(5 + 3 * (2.3 - mean))
    variance = 9 / 10 * sum((value - mean) ** 2 for value in replicates)
    assert spread(inflated) ** 2 == pytest.approx(variance)
    assert statistics.fmean((value - 5) ** 2 for value in inflated) == pytest.approx(variance)


def test_the_excess_of_nearest_neighbours_is_taken_out() -> None:
    inflated = inflate(5.0, [2.0, 2.4, 1.6], excess=2.0)
    assert inflated == pytest.approx([5.0, 5 + math.sqrt(2) / 2 * 0.4, 5 - math.sqrt(2) / 2 * 0.4])
    settings = MINILM.settings
    for estimator, scale, excess in (("fit", None, 1.7), ("mle", None, 1.7), ("gride", 2, 1.7), ("gride", 16, 1.3)):
        profile = replace(MINILM, settings=replace(settings, estimator=estimator), scale=scale)
        assert neighbour_excess(profile) == excess


def test_inflated_weights_stay_above_zero_and_keep_what_is_not_a_weight() -> None:
    samples = [Weights(values=(Fraction(k), Fraction(1)), start=(1, 2), own_ranks=(k, 4)) for k in range(10)]
    inflated = inflate_weights(Weights(values=(Fraction(5), Fraction(1)), start=(1, 1), own_ranks=(5, 4)), samples)
    assert inflated[0].values == (Fraction(0), Fraction(1))  # 5 + 3 (0 - 4.5) is below 0
    assert inflated[9].values == (Fraction("18.5"), Fraction(1))
    assert (inflated[9].own_ranks, inflated[9].start) == ((19, 4), (1, 2))
    assert inflate_weights(samples[0], []) == ()


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, 1.833, 3.25, 6.0, 12.0])
@pytest.mark.parametrize("degrees", [3, 9])
def test_the_tail_of_students_t(t: float, degrees: int) -> None:
    assert tail_probability(t, degrees) == pytest.approx(stats.t.sf(t, degrees), abs=1e-14)


def test_kendalls_tau_with_ties() -> None:
    first, second = [1.0, 1.0, 2.0, 3.0, 5.0, 4.0], [2.0, 1.0, 1.0, 3.0, 3.0, 6.0]
    assert kendall_tau(first, second) == pytest.approx(stats.kendalltau(first, second).statistic)
    assert kendall_tau([1.0, 2.0], [5.0, 5.0]) is None


@pytest.mark.parametrize(
    ("ranks", "other", "share"),
    [
        ((4, 1, 2), (4, 1, 2), 1.0),
        ((4, 1, 2), (3, 2, 2), 3 / 4),  # 3 + 0 + 1 units above one; 2 + 0 + 1 of them stay
        ((4, 1, 1), (1, 4, 1), 0.0),
        ((2, 1, 1), (3, 2, 1), 1 / 3),  # of those of the larger plan
        ((1, 1, 1), (1, 1, 1), 1.0),
        ((0, 3), (1, 3), 1.0),  # a module without an adapter has no unit above one
    ],
)
def test_agreement(ranks: tuple[int, ...], other: tuple[int, ...], share: float) -> None:
    assert agreement(ranks, other) == pytest.approx(share)
    assert agreement(other, ranks) == agreement(ranks, other)


def test_a_preference_is_a_contrast_beyond_its_error() -> None:
    # Two targets: the contrast of the first is 1/2 (w_1 - w_2), and its error half that of the difference.
    noise = [math.cos(math.pi * (2 * k + 1) / 20) * math.sqrt(2) for k in range(10)]  # mean square 1
    quantile = stats.t.isf(0.05 / 2, 9)
    for factor, prefers in ((0.99, False), (1.01, True)):
        difference = factor * quantile * 0.1
        replicates = [(5 + difference + 0.1 * value, 5.0) for value in noise]
        assert has_preference((5 + difference, 5.0), replicates) is prefers
    assert not has_preference((1.0, 1.0, 1.0), [(1.0, 1.0, 1.0)] * 10)
    assert has_preference((1.0, 2.0), [(1.0, 2.0)] * 10)  # no noise at all


def test_growth_without_noise_is_stable_and_growth_within_it_no_preference() -> None:
    stable = stability_of(plan_ranks(with_tenths(ONE, (0.02,) * 7), RANK4))
    assert (stable.verdict, stable.advice) == ("stable", "")
    assert stable.agreement is not None
    assert stable.agreement > 0.9
    flat = stability_of(plan_ranks(with_tenths(FLAT, (0.5,) * 7), RANK4))
    assert flat.verdict == "no preference"
    assert flat.advice.startswith("take method=lora")
    hidden = stability_of(plan_ranks(with_tenths(ONE, (4.0,) * 7), RANK4))
    assert hidden.verdict == "no preference"


def test_a_clear_block_among_noisy_ones_is_unstable() -> None:
    # With weights `growth` the units of the other blocks move with the noise.
    profile = with_tenths(ONE, (0.6,) * 7)
    unstable = stability_of(plan_ranks(profile, RANK4, rule="growth"))
    assert unstable.verdict == "unstable"
    assert unstable.agreement is not None
    assert unstable.agreement < 0.8
    assert "profile.pooling=mean" in unstable.advice
    assert "profile.scales=true" in unstable.advice
    assert "profile.estimator=gride" in unstable.advice
    assert "all 1,000 rows are in this profile" in unstable.advice
    part = replace(profile, examples_drawn=300)
    assert "profile.max_examples=1000" in stability_of(plan_ranks(part, RANK4, rule="growth")).advice


def test_the_numbers_are_those_of_the_ten_plans() -> None:
    profile, allocator = with_tenths(make_profile(IDIMS), (0.3,) * 7), Growth()
    plan = plan_ranks(profile, RANK4)
    stability = stability_of(plan)
    problem = AllocationProblem(
        targets=make_targets(profile.model_map, "attention"),
        rule=Rule(on_deficit="shrink"),
        bound=plan.budget_params,
        auto_params=plan.auto_params,
        budget="rank:4",
    )
    samples = [allocator.weigh(sample, problem) for sample in allocator.resampled(profile)]
    assert len(samples) == 10
    # Idims are inflated before growths are cut off at 0: layer 1 is 7.5, layer 0 is 5.0 and far below.
    inflated = [inflate(row.idim, row.jackknife, 1.7) for row in profile.layers]
    weights = allocator.replicates(profile, problem)
    for k, replicate in enumerate(weights):
        for i, value in enumerate(replicate.values):
            growth = max(inflated[i + 1][k] - inflated[i][k], 0)
            assert float(value) == pytest.approx(growth + 1, abs=2e-6)
    plans = [problem.apportion(replicate) for replicate in weights]
    pairs = [agreement(a, b) for a, b in itertools.combinations(plans, 2)]
    assert stability.agreement == pytest.approx(statistics.fmean(pairs))
    assert stability.lowest == tuple(map(min, zip(*plans, strict=True)))
    assert stability.highest == tuple(map(max, zip(*plans, strict=True)))
    assert stability.spread == pytest.approx([statistics.pstdev(column) for column in zip(*plans, strict=True)])
    assert stability.uniform_agreement == agreement(plan.ranks, plan.uniform_ranks)
    assert all(
        low <= rank <= high for low, rank, high in zip(stability.lowest, plan.ranks, stability.highest, strict=True)
    )
    assert from_json(RankPlan, to_json(plan)) == plan


def test_halves_and_quarters_say_from_where_on_the_plan_stays() -> None:
    def at(half: float, quarter: float, eighth: float) -> PlanStability:
        """Let block 3 grow by 3 in the whole, and by these numbers in the smaller samples."""
        profile = with_tenths(ONE, (0.02,) * 7)
        layers = []
        for row in profile.layers:
            growths = [growth if row.layer >= 3 else 0.0 for growth in (half, quarter, eighth)]
            smaller = [5 + growth for growth in growths]
            layers.append(replace(row, half=smaller[0], quarter=smaller[1], eighth=smaller[2]))
        return stability_of(plan_ranks(replace(profile, layers=tuple(layers)), RANK4))

    settled = at(3, 3, 0)
    assert (settled.half_agreement, settled.quarter_agreement, settled.settles_at) == (1.0, 1.0, 250)
    assert at(3, 3, 3).settles_at == 125
    assert at(3, 0, 3).settles_at == 500  # not from 125 on: at 250 it was another plan
    assert at(0, 3, 3).settles_at is None


def test_old_profiles_controls_and_constant_layers() -> None:
    old = plan_ranks(MINILM, RANK4)
    assert stability_of(old).verdict == "not measured"
    assert "stability: not measured in this profile; measure again with force=true" in format_plan(old)
    one_missing = with_tenths(ONE, (0.1,) * 7)
    layers = (replace(one_missing.layers[0], jackknife=()), *one_missing.layers[1:])
    assert stability_of(plan_ranks(replace(one_missing, layers=layers), RANK4)).verdict == "not measured"
    few = replace(one_missing, layers=(replace(layers[0], half=None, used=23), *layers[1:]), examples_drawn=300)
    told = (
        "stability: not measured; layer 0 has too few points for it (23): measure more rows (profile.max_examples=1000"
    )
    assert told in format_plan(plan_ranks(few, RANK4))
    whole = replace(few, examples_drawn=1000)
    assert "(23): measure another pooling than profile.pooling=mean" in format_plan(plan_ranks(whole, RANK4))
    # A constant layer is 0 in every part of the sample.
    constant = replace(layers[0], idim=0.0, constant=True, half=None)
    by_definition = plan_ranks(replace(one_missing, layers=(constant, *layers[1:])), RANK4)
    assert stability_of(by_definition).verdict == "stable"
    assert "stability: stable, where layer 0 is 0 by definition and decides block 1. Another" in format_plan(
        by_definition
    )
    for method in ("lora", "shuffled", "random", "reversed"):
        control = plan_ranks(with_tenths(ONE, (0.02,) * 7), RANK4, method=method)
        assert control.stability is None
        assert "stability" not in format_plan(control)


def test_a_signal_that_reads_no_text_is_stable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(ALLOCATORS.get("growth")), "basis", "fixed")
    plan = plan_ranks(MINILM, RANK4)
    stability = stability_of(plan)
    assert (stability.verdict, stability.agreement, stability.lowest) == ("stable", None, plan.ranks)
    assert "stability: fixed: its signal reads no text" in format_plan(plan)
    assert summarize_stability(stability).startswith("fixed: ")


def test_the_table_shows_the_spread_and_warns() -> None:
    plan = plan_ranks(with_tenths(ONE, (0.02,) * 7), RANK4)
    stable = format_plan(plan).splitlines()
    assert stable[0].endswith("params  spread")
    assert stable[3].split()[-1] == "0.0"
    assert max(len(line) for line in stable[:7]) <= 80
    numbers = stability_of(plan)
    assert numbers.agreement is not None and numbers.uniform_agreement is not None
    text = f"stability: stable. Another sample keeps {100 * numbers.agreement:.0f} % of the ranks above 1; the uniform "
    shared = f"plan shares {100 * numbers.uniform_agreement:.0f} % of them. Order of weights (tau): "
    assert any(line.startswith(text + shared) for line in stable)
    assert not any(line.startswith("warning") for line in stable)
    noisy = format_plan(plan_ranks(with_tenths(ONE, (0.6,) * 7), RANK4, rule="growth"))
    assert "warning: these ranks rest on noise (unstable): measure another pooling" in noisy


def test_a_plan_without_a_rank_above_one_has_nothing_to_judge() -> None:
    plan = plan_ranks(with_tenths(ONE, (0.02,) * 7), parse_budget("rank:1"), on_deficit="shrink")
    assert set(plan.ranks) == {1}
    text = format_plan(plan)
    assert "no sample gives a rank above 1, so there is nothing above 1 to judge" in text and "100 %" not in text
    assert "nothing above 1 to judge" in summarize_stability(stability_of(plan))


def test_a_share_no_higher_than_that_of_the_uniform_plan_is_named() -> None:
    stability = replace(
        stability_of(plan_ranks(with_tenths(ONE, (0.02,) * 7), RANK4)),
        uniform_agreement=0.8,
        half_agreement=0.9,
        quarter_agreement=0.8,
    )
    low = "The share from N/4 is no more than the uniform plan's"
    assert f"From N/2: 90 %, from N/4: 80 %. {low}" in describe_stability(stability)
    both = describe_stability(replace(stability, half_agreement=0.7))
    assert "The share from N/2 and N/4 is no more" in both
    equal = replace(stability, uniform_agreement=1.0, half_agreement=1.0)
    assert "no more than" not in describe_stability(equal), "the plan itself is the uniform one"


def test_when_unstable() -> None:
    noisy, clear = with_tenths(ONE, (0.6,) * 7), with_tenths(ONE, (0.02,) * 7)
    warned = plan_ranks(noisy, RANK4, rule="growth")
    uniform = plan_ranks(noisy, RANK4, rule="growth", when_unstable="uniform")
    assert uniform.ranks == uniform.uniform_ranks == (4,) * 6
    assert uniform.stability == replace(stability_of(warned), is_used=False)
    assert "spread" not in format_plan(uniform)
    assert "stability: unstable, so the uniform ranks are taken. Another sample keeps" in format_plan(uniform)
    assert summarize_stability(stability_of(uniform)).startswith(
        "uniform ranks, since the measured plan was unstable ("
    )
    assert uniform.adapter_params == sum(row.params for row in uniform.blocks) <= (uniform.budget_params or 0)
    assert uniform.note.startswith("Uniform ranks, since the plan of method=gelora is not stable (unstable")
    assert {(row.rank_low, row.rank_high) for row in uniform.blocks} == {(None, None)}
    assert "warning" not in format_plan(uniform)
    with pytest.raises(
        GeloraError, match=r"not stable: unstable \(another sample keeps \d\d %\)\. .*ranks.when_unstable=warn takes"
    ):
        plan_ranks(noisy, RANK4, rule="growth", when_unstable="error")
    for policy in ("uniform", "error"):
        assert plan_ranks(clear, RANK4, when_unstable=policy) == plan_ranks(clear, RANK4)
        with pytest.raises(GeloraError, match="not measured in this profile; measure again with force=true"):
            plan_ranks(ONE, RANK4, when_unstable=policy)
    with pytest.raises(GeloraError, match="when_unstable=refuse given; accepted: warn, uniform, error"):
        plan_ranks(clear, RANK4, when_unstable="refuse")


def test_a_method_that_takes_only_auto_s_parameters_is_not_judged() -> None:
    noisy = with_tenths(ONE, (4.0,) * 7)
    plan = plan_method(noisy.model_map, {"idim": noisy}, parse_budget("auto"), method="adalora", when_unstable="error")
    assert plan.stability is None
    assert plan.warnings == ()


def test_modules_of_a_block_get_its_uniform_rank() -> None:
    noisy = with_tenths(ONE, (0.6,) * 7)
    plan = plan_method(
        noisy.model_map, {"idim": noisy}, RANK4, rule="growth", granularity="module", when_unstable="uniform"
    )
    assert plan.stability is not None
    assert plan.stability.verdict != "stable"
    assert plan.rank_pattern == {linear.name: 4 for block in noisy.model_map.blocks for linear in block.linears}


def test_an_allocator_without_samples_is_not_told_to_measure_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for hook in ("resampled", "replicates", "unmeasured"):
        monkeypatch.setattr(type(ALLOCATORS.get("growth")), hook, getattr(Allocator, hook))
    stability = stability_of(plan_ranks(with_tenths(ONE, (0.02,) * 7), RANK4))
    assert "not measured; the allocator growth gives no measurements without a tenth" in describe_stability(stability)
