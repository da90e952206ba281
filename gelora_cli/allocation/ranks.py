"""Stage 2: from measured signals and a budget to one rank per block or module; no torch, no numpy.

An allocator turns its signal into weights; `AllocationProblem` turns weights into ranks under the budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.base import IDIM, Allocation, Allocator, SignalArtifact
from gelora_cli.allocation.block_rows import block_rows, ends_of_blocks, with_growth, with_passes, with_scalings
from gelora_cli.allocation.growth import ROUNDING, RULES, block_growths, growth_weights
from gelora_cli.allocation.problem import AllocationProblem, Rule, Weights, make_targets
from gelora_cli.allocation.stability import assess_plan, settle_ranks
from gelora_cli.allocation.structure import fused_roles, structure_notes
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.budget import Budget
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import quote
from gelora_cli.core.registries import ALLOCATORS, METHODS, VARIANTS

ON_DEFICIT = ("error", "shrink")
WHEN_UNSTABLE = ("warn", "uniform", "error")

Signals = Mapping[str, SignalArtifact]
"""Measured signals by name, such as `idim`."""


def planned_methods() -> tuple[str, ...]:
    """Return the names of the methods whose LoRA ranks an allocator gives before they train."""
    return tuple(name for name in METHODS.names() if METHODS.get(name).allocator)


def plan_ranks(  # noqa: PLR0913 - all but two have defaults
    profile: IdProfile,
    budget: Budget,
    *,
    method: str = "gelora",
    seed: int = 0,
    modules: str = "attention",
    scaling: float = 32.0,
    rule: str = "growth+1",
    rounding: str = "up",
    on_deficit: str = "error",
    when_unstable: str = "warn",
    variant: str = "lora",
) -> RankPlan:
    """Return the rank of every block under a budget, from an idim profile alone.

    With weights `w_i = g_i + 1` and lower bounds `l_i = max(1, ceil(g_i))`, ranks start at `n_i = l_i`. Units of rank
    go one at a time to the block with the largest `w_i / (2 n_i + 1)` (Sainte-Lague), ties to the earlier block, until
    the next unit no longer fits. A full block (rank = smallest side of its modules) is skipped. So the ranks never cost
    more than the budget, what remains is less than the next unit costs, and a larger budget never takes a rank away.
    Below the lower bounds `on_deficit=shrink` starts at 1 and gives units only to blocks still below `l_i`.
    `rule=growth` takes weights `g_i` and starts at 1, so that blocks without growth stay there (no growth anywhere:
    equal weights). `budget=auto` has no bound: `r_i` rounded, halves up for `nearest`, at least 1.

    `rank_low` and `rank_high` are the block's rank when it alone grows by `low_i - high_{i-1}` or `high_i - low_{i-1}`
    (the ends of the 95 % intervals; not below 0), the others as estimated, under the same budget; None if that
    growth's lower bound no longer fits. `uniform_ranks` come from equal weights from rank 1 under the same budget
    (`auto`: under what auto costs).

    `method=lora` takes those uniform ranks; `shuffled`, `random` and `reversed` assign the units of GeLoRA's ranks to
    other blocks (`allocation.controls`). `rank_low` and `rank_high` are None then: the profile does not set the ranks.

    Args:
        profile: the measured `d_0 .. d_L`, with the model's blocks.
        budget: what the adapter may cost.
        method: `gelora`, or one of its controls: `lora`, `shuffled`, `random`, `reversed`.
        seed: what `shuffled` and `random` draw by.
        modules: `attention` or `all`.
        scaling: `alpha / r`, the same for every block unless the variant says otherwise.
        rule: `growth+1` or `growth`.
        rounding: `up`, `nearest` or `down`, of the rule's own ranks.
        on_deficit: `error` or `shrink`.
        when_unstable: `warn`, `uniform` or `error`, where the plan is not stable (`allocation.stability`).
        variant: the form of the update, which says what a linear costs beside its rank and how each is scaled.

    Raises:
        GeloraError: the budget is below the lower bounds (`shrink`: below rank 1 everywhere), an unknown option, a
            profile that doesn't fit its model, or with `when_unstable=error` a plan that is not stable.
    """
    return plan_from_signals(
        profile.model_map,
        {IDIM: profile},
        budget,
        method=method,
        seed=seed,
        modules=modules,
        scaling=scaling,
        rule=Rule(rule, rounding, on_deficit, when_unstable=when_unstable, variant=variant),
    )


def plan_from_signals(
    model_map: ModelMap,
    signals: Signals,
    budget: Budget,
    *,
    method: str,
    seed: int,
    modules: str,
    scaling: float,
    rule: Rule,
    settings: object = None,
    assume_even: bool = False,
) -> RankPlan:
    """Return the ranks that the allocator of a method gives, with those that they are compared with.

    Args:
        model_map: blocks and linears of the model that is adapted.
        signals: what was measured; with `budget=auto` the idim profile is among them, since it sets the bound.
        budget: what the adapter may cost.
        method: a method that names an allocator.
        seed: what an allocator draws by.
        modules: `attention` or `all`.
        scaling: `alpha / r`, the same everywhere unless the variant says otherwise.
        rule: the settings of `ranks.*`.
        settings: the keys of the method, of which some may choose ranks; None: their defaults.
        assume_even: weigh all targets alike if the allocator's signal is not measured yet, as a dry run does.

    Raises:
        GeloraError: the budget is below the smallest plan, an unknown option, a signal that doesn't fit the model, or a
            plan that `rule.when_unstable` refuses.
    """
    _check_choices(method, rule, scaling)
    # An allocator declares the class of its signal; a table of all allocators can't say it.
    allocator: Allocator[Any] = ALLOCATORS.get(METHODS.get(method).allocator)
    settings = METHODS.get(method).config_class(name=method) if settings is None else settings
    signal = signals.get(allocator.signal)
    if allocator.signal and signal is None and not assume_even:
        raise missing_signal(method, budget, allocator.signal)
    profile = cast("IdProfile | None", signals.get(IDIM))
    blocks, auto_ranks = _block_problem(model_map, profile, budget, modules, rule)
    granularity = rule.granularity or allocator.granularity_for(settings)
    problem = replace(blocks, targets=make_targets(model_map, modules, granularity), settings=settings)
    warnings = () if signal is None else allocator.warnings(signal)
    # A measured signal is used even if a missing one is assumed.
    is_even = assume_even and bool(allocator.signal) and signal is None
    try:
        uniform, gelora = _references(problem, blocks, profile)
        weights = Weights.proportional(problem.ones) if is_even else _checked_weights(problem, allocator, signal)
        ranks = _checked_ranks(problem, allocator, weights, seed)
    except GeloraError as error:  # a layer that says nothing may be why a block asks for so much
        raise GeloraError("\n".join([str(error), *(f"warning: {text}" for text in warnings)])) from error
    allocation = Allocation(problem=problem, weights=weights, ranks=ranks, uniform=uniform, gelora=gelora)
    stability = None if is_even else assess_plan(allocator, signal, allocation, seed)
    ranks, settled_note = settle_ranks(stability, allocation, method=method)
    if stability is not None and settled_note:
        stability = replace(stability, is_used=False)
    allocation = replace(allocation, ranks=ranks)
    rows = block_rows(problem, ranks, None if is_even else weights)
    if profile is not None and allocator.signal == IDIM:
        rank_ends = ((None, None),) * len(problem.targets) if settled_note else allocator.rank_ends(signal, problem)
        rows = with_growth(rows, profile, blocks, ends_of_blocks(problem, rank_ends))
    rows = with_passes(with_scalings(rows, problem, scaling, uniform), model_map)
    note = "" if is_even else allocator.note(signal, allocation)  # nothing to say of a signal not yet measured
    return RankPlan(
        method=method,
        rule=rule.name,
        rounding=rule.rounding,
        on_deficit=rule.on_deficit,
        modules=modules,
        scaling=scaling,
        budget=budget.name,
        budget_params=problem.bound,
        blocks=rows,
        auto_ranks=auto_ranks,
        auto_params=blocks.auto_params,
        uniform_ranks=problem.largest_of_blocks(uniform),
        gelora_ranks=problem.largest_of_blocks(gelora),
        adapter_params=problem.cost(ranks),
        head_params=model_map.head_params,
        backbone_params=model_map.backbone_params,
        note=settled_note or note,
        unit="rank",
        trained_params=problem.cost(ranks),
        warnings=warnings,
        granularity=granularity,
        stability=stability,
        variant=rule.variant,
        fixed_params=problem.fixed_cost(ranks),
        rank_factor=VARIANTS.get(rule.variant).rank_factor,
        structure=structure_notes(model_map, modules, "rank"),
        fused_roles=fused_roles(model_map, modules),
    )


def missing_signal(method: str, budget: Budget, signal: str) -> GeloraError:
    """Return the error that a plan can't be made without a signal, with the command that measures it."""
    command = profile_command([signal])
    if signal == IDIM:
        return GeloraError(f"method={method} with budget={budget.given} needs a profile; measure one: {command}")
    return GeloraError(f"method={method} needs the signal {signal}, which is not there; measure it: {command}")


def profile_command(names: Sequence[str]) -> str:
    """Return the command that measures signals, with what else it must be given."""
    signals = "" if list(names) == [IDIM] else f" signals={','.join(names)}"
    return f"gelora profile{signals} with the same task, model and profile settings"


def _check_choices(method: str, rule: Rule, scaling: float) -> None:
    choices = (
        ("method", method, planned_methods()),
        ("rule", rule.name, RULES),
        ("rounding", rule.rounding, tuple(ROUNDING)),
        ("on_deficit", rule.on_deficit, ON_DEFICIT),
        ("when_unstable", rule.when_unstable, WHEN_UNSTABLE),
        ("variant", rule.variant, VARIANTS.names()),
    )
    # Also checked by the configuration; this is for calls from Python.
    for name, value, accepted in choices:
        if value not in accepted:
            raise GeloraError(f"{name}={value} given; accepted: {', '.join(accepted)}.")
    if not (math.isfinite(scaling) and scaling > 0):
        raise GeloraError(f"scaling={scaling} given; alpha / r must be a number above zero, for example 32.")


def _block_problem(
    model_map: ModelMap, profile: IdProfile | None, budget: Budget, modules: str, rule: Rule
) -> tuple[AllocationProblem, Ranks]:
    """Return the problem in which every block gets a rank, and the ranks that GeLoRA's rule has without a budget."""
    problem = AllocationProblem(
        targets=make_targets(model_map, modules),
        rule=rule,
        bound=budget.params(model_map, modules),
        auto_params=0,
        budget=budget.given,
    )
    if profile is None:
        return problem, ()
    auto_ranks = growth_weights(block_growths(profile), problem).own_ranks or ()
    return replace(problem, auto_params=problem.cost(auto_ranks)), auto_ranks


def _references(
    problem: AllocationProblem, blocks: AllocationProblem, profile: IdProfile | None
) -> tuple[Ranks, Ranks]:
    """Return the ranks that method=lora and method=gelora give each target under the same settings.

    Theirs are per block, unless `ranks.granularity` says otherwise: then each target has the rank of its block. They
    are empty if they can't meet the budget, and GeLoRA's without a profile.
    """
    asks_for_modules = problem.rule.granularity == "module"
    reference = problem if asks_for_modules else blocks
    uniform = _ranks_or_none(reference, Weights.proportional(reference.ones))
    gelora: Ranks = ()
    if profile is not None:
        of_blocks = growth_weights(block_growths(profile), reference.by_block())
        gelora = _ranks_or_none(reference, reference.spread_weights(of_blocks))
    if asks_for_modules:
        return uniform, gelora
    return problem.spread(uniform) if uniform else (), problem.spread(gelora) if gelora else ()


def _ranks_or_none(problem: AllocationProblem, weights: Weights) -> Ranks:
    """Return ranks under the budget; none if it is too small."""
    try:
        return problem.apportion(weights)
    except GeloraError:
        return ()


def _checked_weights(problem: AllocationProblem, allocator: Allocator[Any], signal: Any) -> Weights:
    """Return the allocator's weights.

    Raises:
        GeloraError: it refuses, or gives no weights, or not one for each target.
    """
    weights: object = allocator.weigh(signal, problem)
    count = len(problem.targets)
    if not isinstance(weights, Weights) or not len(weights.values) == len(weights.start) == count:
        raise GeloraError(
            f"the allocator {allocator.name} gives {quote(weights)} as weights; accepted: Weights with a value for "
            f"each of the {count} targets, such as Weights.proportional([...]). Correct the allocator."
        )
    return weights


def _checked_ranks(problem: AllocationProblem, allocator: Allocator[Any], weights: Weights, seed: int) -> Ranks:
    """Return the allocator's ranks.

    Raises:
        GeloraError: it refuses, or gives ranks that pass the budget or a largest rank.
    """
    ranks = allocator.allocate(problem, weights, seed)
    if not isinstance(ranks, tuple) or not all(isinstance(rank, int) for rank in ranks):
        raise GeloraError(
            f"the allocator {allocator.name} gives {quote(ranks)} as ranks; accepted: a tuple with a whole number for "
            f"each of the {len(problem.targets)} targets. Correct the allocator."
        )
    if not problem.is_feasible(ranks):
        texts, caps = " ".join(map(str, ranks)), " ".join(map(str, problem.caps))
        raise GeloraError(
            f"the allocator {allocator.name} gives the ranks {texts}, which cost more than "
            f"{problem.largest_cost:,} parameters or are not from 0 to {caps}. Correct the allocator."
        )
    return ranks
