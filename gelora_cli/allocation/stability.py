"""Whether a plan would be the same with another sample: a verdict, and the numbers behind it; no torch, no numpy.

The ten measurements without a tenth of the sample each are inflated to the scatter of whole samples
(`allocation.jackknife`), and each is planned again under the same budget.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.base import MEASURE_AGAIN, Allocation, Allocator
from gelora_cli.allocation.jackknife import kendall_tau, spread, tail_probability
from gelora_cli.allocation.problem import AllocationProblem, Weights
from gelora_cli.core.artifacts.plan import PlanStability
from gelora_cli.core.errors import GeloraError

NO_PREFERENCE, UNSTABLE, STABLE, NOT_MEASURED = "no preference", "unstable", "stable", "not measured"
FIXED = "fixed"
"""How `stable` is said of a plan that no sample decides."""
STABLE_AGREEMENT = 0.8
"""A plan is stable only if two samples have at least this share of the units above one in common.

On made profiles with known growth the agreement that a plan says is that of two samples within 0.02 on average, so the
threshold is read on the numbers themselves. Of 1,050 draws whose plans move 2.7 % were called stable. Of 1,200 whose
plans would be kept 3 % were called unstable, and 15 % without a preference. Of 450 flat ones 2.2 % were said to have a
preference (`scripts/calibrate_stability.py plans --draws 25`).
"""
NOTHING_ABOVE_ONE = "no sample gives a rank above 1, so there is nothing above 1 to judge"
"""Said in place of the share of the units above one that another sample keeps."""
LEVEL = 0.05
"""The chance of seeing a preference where all targets ask for the same, over all targets together."""


def assess_plan(allocator: Allocator[Any], signal: Any, allocation: Allocation, seed: int) -> PlanStability | None:
    """Return whether an allocator's plan would be the same with another sample; None for a control.

    - *no preference*: no target asks for more than the mean of all beyond the noise (`has_preference`).
    - *unstable*: one does, but the plans of two samples have less than `STABLE_AGREEMENT` of their units in common, or
      less than the plan has in common with the uniform one: what it moves is mostly noise.
    - *stable*: neither, or no sample decides the signal.
    - *not measured*: the signal holds no such measurements.

    Args:
        allocator: whose plan it is.
        signal: what it has read.
        allocation: its weights and ranks.
        seed: what the allocator draws by.
    """
    ranks, targets = allocation.ranks, len(allocation.ranks)
    if allocator.basis == "control":
        return None
    if allocator.basis == "fixed":
        return PlanStability(STABLE, None, None, lowest=ranks, highest=ranks, spread=(0.0,) * targets)
    replicates = allocator.replicates(signal, allocation.problem)
    if len(replicates) < 2:  # one has no spread
        return PlanStability(NOT_MEASURED, None, None, (), (), (), advice=allocator.unmeasured(signal))
    plans = [_plan(allocator, allocation.problem, weights, seed) for weights in replicates]
    stability = _summary(allocator, allocation, replicates, plans)
    stability = _with_smaller_samples(stability, allocator, signal, allocation, seed)
    advice = _advice(stability.verdict, allocator.remedy(signal))
    return replace(stability, advice=advice, caveat=allocator.caveat(signal))


def settle_ranks(stability: PlanStability | None, allocation: Allocation, *, method: str) -> tuple[Ranks, str]:
    """Return the ranks that `ranks.when_unstable` takes for a plan of this stability, and a sentence if they changed.

    `uniform` takes the uniform ranks unless the plan is stable; `warn` keeps the plan's own.

    Raises:
        GeloraError: `when_unstable=error` and the plan is not stable, or it should be judged and is not measured.
    """
    policy = allocation.problem.rule.when_unstable
    if stability is None or stability.verdict == STABLE or policy == "warn":
        return allocation.ranks, ""
    plan = f"the plan of method={method}"
    if stability.verdict == NOT_MEASURED:
        raise GeloraError(
            f"ranks.when_unstable={policy} needs to know whether {plan} is stable: {describe_stability(stability)}. "
            "ranks.when_unstable=warn takes the plan all the same"
        )
    if policy == "error":
        raise GeloraError(
            f"{plan} is not stable: {summarize_stability(stability)}. ranks.when_unstable=error refuses that. "
            f"To fix it {stability.advice}. ranks.when_unstable=warn takes the plan all the same"
        )
    sentence = f"Uniform ranks, since {plan} is not stable ({stability.verdict}; ranks.when_unstable=uniform)."
    return allocation.uniform or allocation.problem.uniform_ranks(), sentence  # the latter says why there are none


def agreement(ranks: Ranks, other: Ranks) -> float:
    """Return the share of the units above one per target that two plans have in common, of those of the larger plan.

    `sum_i min(r_i - 1, s_i - 1) / max(sum_i (r_i - 1), sum_i (s_i - 1))`. Under a bound that every unit costs alike,
    both plans have equally many units. 1 if neither has any.
    """
    above = [max(rank - 1, 0) for rank in ranks]
    other_above = [max(rank - 1, 0) for rank in other]
    units = max(sum(above), sum(other_above))
    return sum(map(min, above, other_above)) / units if units else 1.0


def has_preference(weights: Sequence[float], replicates: Sequence[Sequence[float]]) -> bool:
    """Return whether any target asks for more than the mean of all, beyond the noise of the sample.

    The contrast `c_i = w_i - mean(w)` is divided by its standard error by the jackknife, and compared with Student's t
    with 9 degrees of freedom at `LEVEL`, one-sided, with Bonferroni's correction for the number of targets. Only
    contrasts above 0 count: a weight that is cut off at its lowest value has no noise of its own.

    Args:
        weights: of each target.
        replicates: the same from each inflated replicate.
    """
    mean = statistics.fmean(weights)
    means = [statistics.fmean(values) for values in replicates]
    for i, weight in enumerate(weights):
        contrast = weight - mean
        error = spread([values[i] - middle for values, middle in zip(replicates, means, strict=True)])
        # Equal weights may differ by rounding from their own mean.
        if contrast <= 1e-9 * abs(mean):
            continue
        if error == 0 or tail_probability(contrast / error) < LEVEL / len(weights):
            return True
    return False


def _plan(allocator: Allocator[Any], problem: AllocationProblem, weights: Weights, seed: int) -> Ranks:
    """Return the ranks of a replicate; one whose lower bounds pass the budget goes below them."""
    # Only the plan itself may refuse a budget. A replicate that asks for more says how far the ranks may move.
    shrinking = replace(problem, rule=replace(problem.rule, on_deficit="shrink"))
    return allocator.allocate(shrinking, weights, seed)


def _summary(
    allocator: Allocator[Any], allocation: Allocation, replicates: Sequence[Weights], plans: Sequence[Ranks]
) -> PlanStability:
    """Return verdict, agreement and the spread of each rank."""
    weights, samples = _floats(allocation.weights.values), [_floats(replicate.values) for replicate in replicates]
    if allocator.has_common_scale:
        weights, samples = _over_mean(weights), [_over_mean(sample) for sample in samples]
    # Two replicates differ as two samples do. A replicate differs from the plan by the error of one sample only, so
    # that its agreement with the plan would be too high.
    common = statistics.fmean(agreement(first, second) for first, second in itertools.combinations(plans, 2))
    taus = [kendall_tau(first, second) for first, second in itertools.combinations(samples, 2)]
    untied = [tau for tau in taus if tau is not None]
    with_uniform = agreement(allocation.ranks, allocation.uniform or allocation.problem.ones)
    columns = list(zip(*plans, strict=True))
    return PlanStability(
        verdict=_verdict(has_preference(weights, samples), common, with_uniform),
        agreement=common,
        tau=statistics.fmean(untied) if untied else None,
        lowest=tuple(map(min, columns)),
        highest=tuple(map(max, columns)),
        spread=tuple(map(spread, columns)),
        uniform_agreement=with_uniform,
    )


def _verdict(prefers: bool, common: float, with_uniform: float) -> str:
    if not prefers:
        return NO_PREFERENCE
    # A plan that equals the uniform one moves nothing, which no sample can change for the worse.
    is_mostly_noise = common <= with_uniform < 1
    return UNSTABLE if common < STABLE_AGREEMENT or is_mostly_noise else STABLE


def _with_smaller_samples(
    stability: PlanStability, allocator: Allocator[Any], signal: Any, allocation: Allocation, seed: int
) -> PlanStability:
    """Return the stability with the agreement of plans from smaller samples, where those are measured."""
    agreements: dict[int, float] = {}  # by the share 1 / n of the sample
    settles_at = None
    for sample in allocator.smaller_samples(signal):  # the largest first
        weights = allocator.weigh(sample.signal, allocation.problem)
        agreements[sample.part] = agreement(allocation.ranks, _plan(allocator, allocation.problem, weights, seed))
        if all(value >= STABLE_AGREEMENT for value in agreements.values()):
            settles_at = sample.examples
    return replace(
        stability,
        half_agreement=agreements.get(2),
        quarter_agreement=agreements.get(4),
        settles_at=settles_at if stability.verdict == STABLE else None,
    )


def _advice(verdict: str, remedy: str) -> str:
    """Return what to do, in one sentence."""
    if verdict == NO_PREFERENCE:
        return f"take method=lora, as ranks.when_unstable=uniform does; to see a smaller preference {remedy}"
    if verdict == UNSTABLE:
        return f"{remedy}, or take method=lora, as ranks.when_unstable=uniform does"
    return ""


def _floats(values: Sequence[Fraction]) -> list[float]:
    return [float(value) for value in values]


def _over_mean(weights: Sequence[float]) -> list[float]:
    """Return weights, of at least 0, in units of their mean."""
    mean = statistics.fmean(weights)
    return [weight / mean for weight in weights] if mean > 0 else [*weights]


def verdict_word(stability: PlanStability) -> str:
    """Return the verdict; `fixed` for a plan that no sample decides."""
    return FIXED if stability.verdict == STABLE and stability.agreement is None else stability.verdict


def summarize_stability(stability: PlanStability) -> str:
    """Return the verdict with the share that another sample keeps, and what it does not say."""
    if stability.agreement is None:
        return describe_stability(stability)
    kept = f"another sample keeps {_percent(stability.agreement)}"
    if _has_nothing_above_one(stability):
        kept = NOTHING_ABOVE_ONE
    text = f"{stability.verdict} ({kept})"
    if stability.caveat:
        text = f"{text}, where {stability.caveat}"
    return text if stability.is_used else f"uniform ranks, since the measured plan was {text}"


def describe_stability(stability: PlanStability) -> str:
    """Return the verdict and its numbers, in sentences, without the advice."""
    word = verdict_word(stability)
    if word == FIXED:
        return f"{FIXED}: its signal reads no text, so no sample moves the plan"
    if stability.agreement is None:
        place = " in this profile" if stability.advice == MEASURE_AGAIN else ""
        return f"{word}{place}; {stability.advice}"
    verdict = f"{word}, where {stability.caveat}" if stability.caveat else word
    if not stability.is_used:
        verdict = f"{verdict}, so the uniform ranks are taken"
    if _has_nothing_above_one(stability):
        return f"{verdict}: {NOTHING_ABOVE_ONE}"
    kept = f"Another sample keeps {_percent(stability.agreement)} of the ranks above 1"
    if stability.uniform_agreement is not None:
        kept += f"; the uniform plan shares {_percent(stability.uniform_agreement)} of them"
    sentences = [verdict, kept]
    if stability.tau is not None:
        sentences.append(f"Order of weights (tau): {stability.tau:.2f}")
    smaller = (("N/2", stability.half_agreement), ("N/4", stability.quarter_agreement))
    measured = [f"from {name}: {_percent(value)}" for name, value in smaller if value is not None]
    if measured:
        sentences.append(f"F{', '.join(measured)[1:]}")
    uniform = stability.uniform_agreement
    if uniform is not None and uniform < 1:  # a plan that equals the uniform one can share no more with another
        as_uniform = [name for name, value in smaller if value is not None and value <= uniform]
        if as_uniform:
            sentences.append(f"The share from {' and '.join(as_uniform)} is no more than the uniform plan's")
    if stability.settles_at is not None:
        sentences.append(f"Settled from {stability.settles_at:,} examples on")
    return ". ".join(sentences)


def _has_nothing_above_one(stability: PlanStability) -> bool:
    """Return whether no sample gives a rank above 1, as under a small budget: nothing is there to keep or to lose."""
    return max(stability.highest, default=2) <= 1


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
