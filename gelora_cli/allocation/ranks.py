"""Stage 2: from an idim profile and a budget to one rank per block; no torch, no numpy.

With growth `g_i = max(d_i - d_{i-1}, 0)` the rule is `r_i = g_i + 1` (GeLoRA, arXiv 2412.09250, theorem 3.2 for the
bound; the +1 is a heuristic that keeps every block trainable). How a budget is met is this project's choice.

All arithmetic is in fractions of the decimal numbers that the profile's JSON shows: equal growths tie exactly, and
4.4 - 3.4 is 1 here (in binary floating point it is more than 1, and its ceiling 2).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.base import ROUNDING, AllocationProblem, Allocator, Rule
from gelora_cli.allocation.layer_checks import layer_warnings
from gelora_cli.core.artifacts.plan import BlockRank, RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.budget import Budget, max_ranks, unit_costs
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import ALLOCATORS, METHODS

RULES = ("growth+1", "growth")
ON_DEFICIT = ("error", "shrink")
EXEMPT_BUDGET = "exempt"


def planned_methods() -> tuple[str, ...]:
    """Return the names of the methods whose LoRA ranks an allocator gives, from a profile, before they train."""
    return tuple(name for name in METHODS.names() if METHODS.get(name).allocator)


def plan_ranks(
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
) -> RankPlan:
    """The rank of every block under a budget.

    With weights `w_i = g_i + 1` and lower bounds `l_i = max(1, ceil(g_i))`, ranks start at `n_i = l_i`; units of rank
    go one at a time to the block with the largest `w_i / (2 n_i + 1)` (Sainte-Lague), ties to the earlier block, until
    the next unit no longer fits. A full block (rank = smallest side of its modules) is passed over. So the budget is
    never passed, what is left is less than the next unit costs, and a larger budget never takes a rank away. Below
    the lower bounds `on_deficit=shrink` starts at 1 and hands units only to blocks still below `l_i`.
    `rule=growth` takes weights `g_i` and starts at 1, so that blocks without growth stay there (no growth anywhere:
    equal weights). `budget=auto` has no bound: `r_i` rounded, halves up for `nearest`, at least 1.

    `rank_low` and `rank_high` are the block's rank when it alone grows by `low_i - high_{i-1}` or `high_i - low_{i-1}`
    (the ends of the 95 % intervals; not below 0), the others as estimated, under the same budget; None where that
    growth's lower bound no longer fits. `uniform_ranks` are handed out by equal weights from 1 under the same budget
    (`auto`: under what auto costs).

    `method=lora` takes those uniform ranks; `shuffled`, `random` and `reversed` assign the units of GeLoRA's ranks to
    other blocks (`allocation.controls`). `rank_low` and `rank_high` are None then: the profile does not set the ranks.

    Args:
        profile: the measured `d_0 .. d_L`, with the model's blocks.
        budget: what the adapter may cost.
        method: `gelora`, or one of its controls: `lora`, `shuffled`, `random`, `reversed`.
        seed: what `shuffled` and `random` draw by.
        modules: `attention` or `all`.
        scaling: `alpha / r`, the same for every block.
        rule: `growth+1` or `growth`.
        rounding: `up`, `nearest` or `down`, of the rule's own ranks.
        on_deficit: `error` or `shrink`.

    Raises:
        GeloraError: the budget is below the lower bounds (`shrink`: below rank 1 everywhere), an unknown option, or a
            profile that doesn't fit its model.
    """
    _check_choices(method, rule, rounding, on_deficit, scaling)
    allocator = ALLOCATORS.get(METHODS.get(method).allocator)
    problem = allocation_problem(profile, budget, modules, Rule(rule, rounding, on_deficit))
    warnings = layer_warnings(profile)
    try:
        own, uniform, gelora = problem.own_ranks, problem.uniform_ranks, _growth_ranks(problem, allocator)
        ranks = _allocated(problem, allocator, seed)
    except GeloraError as error:  # a layer that says nothing may be why a block asks for so much
        raise GeloraError("\n".join([str(error), *(f"warning: {text}" for text in warnings)])) from error
    rows = _rows(profile, problem, modules, ranks, ends=allocator.follows_growth)
    return RankPlan(
        method=method,
        rule=rule,
        rounding=rounding,
        on_deficit=on_deficit,
        modules=modules,
        scaling=scaling,
        budget=budget.name,
        budget_params=problem.bound,
        blocks=rows,
        auto_ranks=own,
        auto_params=problem.cost(own),
        uniform_ranks=uniform,
        gelora_ranks=gelora,
        adapter_params=problem.cost(ranks),
        head_params=profile.model_map.head_params,
        backbone_params=profile.model_map.backbone_params,
        note=_note(problem, allocator, ranks, gelora, uniform),
        unit="rank",
        trained_params=problem.cost(ranks),
        warnings=warnings,
    )


def rank_pattern_json(plan: RankPlan) -> dict[str, Any]:
    r"""The plan as keyword arguments for `peft.LoraConfig`.

    PEFT takes a key of `rank_pattern` as `re.match(rf"(.*\.)?({key})$", module_name)` and the first that matches;
    `target_modules` are plain names. So the keys are full module names with dots escaped, `alpha = scaling * rank`.
    """
    ranks = plan.rank_pattern
    alphas = {name: _integer_if_whole(plan.scaling * rank) for name, rank in ranks.items()}
    largest = max(ranks.values())
    return {
        "r": largest,
        "lora_alpha": _integer_if_whole(plan.scaling * largest),
        "target_modules": list(ranks),
        "rank_pattern": {re.escape(name): rank for name, rank in ranks.items()},
        "alpha_pattern": {re.escape(name): alpha for name, alpha in alphas.items()},
    }


def plan_beside(pattern: Path) -> Path:
    """Return where the plan of a pattern file is: `pattern.json` has `pattern.plan.json` beside it."""
    return pattern.with_suffix(".plan.json")


def format_plan(plan: RankPlan) -> str:
    """Return the plan as a table for a terminal: a line per block, then parameters, budget, notes and warnings."""
    header = (
        f"{'block':>5} {'idim in':>8} {'out':>7} {'growth':>7} {'real':>7} {'rank':>5} {'low..high':>10} {'params':>9}"
    )
    lines = [header, *map(_block_line, plan.blocks)] if plan.blocks else []
    lines += [_totals_line(plan), budget_line(plan)]
    if plan.auto_ranks:
        lines.append(f"rule's own (auto) ranks: {_listed(plan.auto_ranks)} = {plan.auto_params:,} parameters")
        lines.append(f"uniform ranks: {_listed(plan.uniform_ranks)}")
    lines += [plan.note] if plan.note else []
    return "\n".join([*lines, *(f"warning: {text}" for text in plan.warnings)])


def _listed(ranks: Ranks) -> str:
    return " ".join(map(str, ranks))


def _block_line(row: BlockRank) -> str:
    ends = f"{_or_dash(row.rank_low)}..{_or_dash(row.rank_high)}"
    idims = f"{_or_dash(row.idim_in, '.3f'):>8} {_or_dash(row.idim_out, '.3f'):>7}"
    growth = f"{_or_dash(row.growth, '.3f'):>7} {_or_dash(row.real_rank, '.3f'):>7}"
    return f"{row.block:5d} {idims} {growth} {row.rank:5d} {ends:>10} {row.params:9,}"


def _totals_line(plan: RankPlan) -> str:
    share = 100 * plan.adapter_params / plan.backbone_params
    peak = f", at the most {plan.trained_params:,} trained" if plan.trained_params != plan.adapter_params else ""
    return (
        f"adapter {plan.adapter_params:,} parameters ({share:.3f} % of the backbone){peak}, head {plan.head_params:,}, "
        f"backbone {plan.backbone_params:,}"
    )


def budget_line(plan: RankPlan) -> str:
    """The budget and how much of it the plan uses."""
    if plan.budget == EXEMPT_BUDGET:
        return f"exempt from the budget: {plan.method} costs what it costs, {plan.adapter_params:,} parameters"
    if plan.budget_params is None and plan.method != "gelora":
        used = f"{plan.adapter_params:,} of {plan.auto_params:,} parameters used"
        return f"budget {plan.budget}, which is what the rule's own ranks cost: {used}"
    if plan.budget_params is None:
        return f"budget {plan.budget}: the rule's own ranks, no bound"
    share = 100 * plan.adapter_params / plan.budget_params
    return f"budget {plan.budget}: {plan.adapter_params:,} of {plan.budget_params:,} parameters used ({share:.1f} %)"


def _or_dash(value: float | None, form: str = "") -> str:
    return "-" if value is None else format(value, form)


def _integer_if_whole(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _check_choices(method: str, rule: str, rounding: str, on_deficit: str, scaling: float) -> None:
    given = (
        ("method.name", method, planned_methods()),
        ("ranks.rule", rule, RULES),
        ("ranks.rounding", rounding, ROUNDING),
        ("ranks.on_deficit", on_deficit, ON_DEFICIT),
    )
    for name, value, accepted in given:
        if value not in accepted:
            raise GeloraError(f"{name}={value} given; accepted: {', '.join(accepted)}.")
    if not (math.isfinite(scaling) and scaling > 0):
        raise GeloraError(f"method.scaling={scaling} given; alpha / r must be a number above zero, for example 32.")


def allocation_problem(profile: IdProfile, budget: Budget, modules: str, rule: Rule) -> AllocationProblem:
    """Return what a profile and a budget ask of an allocator.

    Raises:
        GeloraError: the profile doesn't fit its model, or holds an idim that is no finite number.
    """
    blocks, layers = len(profile.model_map.blocks), [row.layer for row in profile.layers]
    if layers != list(range(blocks + 1)):
        raise GeloraError(f"the profile has layers {layers}, but {blocks} blocks need 0 to {blocks}. Profile again.")
    idims = [_exact(row.idim) for row in profile.layers]
    return AllocationProblem(
        growths=tuple(itertools.starmap(_growth, itertools.pairwise(idims))),
        units=unit_costs(profile.model_map, modules),
        caps=max_ranks(profile.model_map, modules),
        rule=rule,
        bound=budget.params(profile.model_map, modules),
        budget=budget.name,
    )


def _exact(idim: float) -> Fraction:
    """The decimal number that `idim` is written as."""
    if not math.isfinite(idim):
        raise GeloraError(
            f"the profile holds an idim of {idim}; only finite numbers can be planned with. Profile again."
        )
    return Fraction(repr(float(idim)))


def _growth(before: Fraction, after: Fraction) -> Fraction:
    return max(after - before, Fraction(0))


def _growth_ranks(problem: AllocationProblem, allocator: Allocator) -> Ranks:
    """Return GeLoRA's own ranks; nothing where it can't meet the budget and the allocator does not need them."""
    try:
        return problem.growth_ranks
    except GeloraError:
        if allocator.needs_growth_ranks:
            raise
        return ()


def _allocated(problem: AllocationProblem, allocator: Allocator, seed: int) -> Ranks:
    """Return the allocator's ranks.

    Raises:
        GeloraError: it refuses, or gives ranks that pass the budget or a block's largest rank.
    """
    ranks = allocator.allocate(problem, seed)
    if not problem.is_feasible(ranks):
        raise GeloraError(
            f"the allocator {allocator.name} gives the ranks {_listed(ranks)}, which cost more than "
            f"{problem.largest_cost:,} parameters or are not from 0 to {_listed(problem.caps)}. Correct the allocator."
        )
    return ranks


def _rows(
    profile: IdProfile, problem: AllocationProblem, modules: str, ranks: Ranks, *, ends: bool
) -> tuple[BlockRank, ...]:
    lower_bounds, real_ranks = problem.lower_bounds, problem.real_ranks

    def row(i: int) -> BlockRank:
        low, high = _rank_ends(profile, problem, i) if ends else (None, None)
        block = profile.model_map.blocks[i]
        return BlockRank(
            block=block.index,
            idim_in=profile.layers[i].idim,
            idim_out=profile.layers[i + 1].idim,
            growth=float(problem.growths[i]),
            lower_bound=lower_bounds[i],
            real_rank=float(real_ranks[i]),
            rank=ranks[i],
            rank_low=low,
            rank_high=high,
            modules=tuple(linear.name for linear in profile.model_map.linears(block, modules)),
            params=ranks[i] * problem.units[i],
        )

    return tuple(row(i) for i in range(len(ranks)))


def _rank_ends(profile: IdProfile, problem: AllocationProblem, i: int) -> tuple[int | None, int | None]:
    """Block i's rank with its growth at the lower and at the upper end of the intervals."""
    before, after = profile.layers[i], profile.layers[i + 1]
    low = _growth(_exact(before.high), _exact(after.low))
    high = _growth(_exact(before.low), _exact(after.high))
    return _rank_if(problem, i, low), _rank_if(problem, i, high)


def _rank_if(problem: AllocationProblem, i: int, growth: Fraction) -> int | None:
    growths = (*problem.growths[:i], growth, *problem.growths[i + 1 :])
    try:
        return replace(problem, growths=growths).growth_ranks[i]
    except GeloraError:
        return None


def _note(problem: AllocationProblem, allocator: Allocator, ranks: Ranks, gelora: Ranks, uniform: Ranks) -> str:
    """Say what a reader should know of this plan, in sentences; empty where there is nothing to say."""
    if allocator.follows_growth:
        notes = (_uniform_note(problem, ranks, uniform), _below_note(problem, ranks), _full_note(problem, ranks))
        return " ".join(filter(None, (*notes, _auto_note(problem, ranks))))
    return " ".join(filter(None, (_control_note(ranks, gelora, uniform), _full_note(problem, ranks))))


def _control_note(ranks: Ranks, gelora: Ranks, uniform: Ranks) -> str:
    if not gelora:
        return "GeLoRA itself can't meet this budget: it is below its lower bounds."
    if ranks == gelora:
        return "This plan equals GeLoRA's: the two are one."
    return f"GeLoRA's ranks: {_listed(gelora)}{', which are the uniform ones' if gelora == uniform else ''}."


def _uniform_note(problem: AllocationProblem, ranks: Ranks, uniform: Ranks) -> str:
    if ranks != uniform:
        return ""
    return f"The plan equals the uniform one, so method=lora trains the same: {_why_uniform(problem, ranks)}."


def _why_uniform(problem: AllocationProblem, ranks: Ranks) -> str:
    if len(ranks) == 1:
        return "there is one block"
    if ranks == problem.caps:
        return "every block is full"
    if not any(problem.growths):
        return "no block's idim grows, so the rule has no preference"
    if len(set(problem.growths)) == 1:
        return "all blocks grow by the same"
    return "the growths differ, but they move no unit of rank at this budget"


def _below_note(problem: AllocationProblem, ranks: Ranks) -> str:
    below = [i for i, bound in enumerate(problem.lower_bounds, 1) if ranks[i - 1] < bound]
    if not below:
        return ""
    if problem.bound is None:
        why = f"ranks.rounding={problem.rule.rounding}"
    elif problem.rule.name == "growth+1":
        why = "ranks.on_deficit=shrink"
    else:
        why = f"ranks.rule={problem.rule.name}"
    return f"{_blocks(below)} below the lower bound ({why})."


def _full_note(problem: AllocationProblem, ranks: Ranks) -> str:
    full = [i for i, cap in enumerate(problem.caps, 1) if ranks[i - 1] == cap]
    passed_over = "" if problem.bound is None else "; further units pass over"
    return f"{_blocks(full)} full: the rank is the smallest side of the modules{passed_over}." if full else ""


def _auto_note(problem: AllocationProblem, ranks: Ranks) -> str:
    if problem.bound != problem.cost(problem.own_ranks):
        return ""
    same = "the same ranks" if ranks == problem.own_ranks else f"other ranks: {_listed(problem.own_ranks)}"
    return f"This budget is what auto costs; auto gives {same}."


def _blocks(numbers: Sequence[int]) -> str:
    listed = ", ".join(map(str, numbers))
    return f"Block {listed} is" if len(numbers) == 1 else f"Blocks {listed} are"
