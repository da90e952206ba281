"""Sentences about a plan: where it equals another one, and which blocks are full or below a bound; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.problem import AllocationProblem

if TYPE_CHECKING:
    from gelora_cli.allocation.base import Allocation


def growth_note(allocation: Allocation, growths: Sequence[Fraction], lower_bounds: Ranks) -> str:
    """Return what to know of GeLoRA's own ranks; empty where there is nothing to say."""
    problem, ranks = allocation.problem, allocation.ranks
    sentences = (
        _uniform_sentence(allocation, growths),
        _below_sentence(problem, ranks, lower_bounds),
        _full_sentence(problem, ranks),
        _auto_sentence(allocation),
    )
    return " ".join(filter(None, sentences))


def control_note(allocation: Allocation) -> str:
    """Return GeLoRA's ranks, which a control is compared with, and which blocks are full."""
    sentences = (_comparison_sentence(allocation), _full_sentence(allocation.problem, allocation.ranks))
    return " ".join(filter(None, sentences))


def weights_note(allocation: Allocation) -> str:
    """Return the weights of another signal, and whether the plan is the uniform one."""
    weights = " ".join(f"{float(value):.4g}" for value in allocation.weights.values)
    sentences = [f"Weights: {weights}."]
    if allocation.ranks == allocation.uniform:
        sentences.append("The plan equals the uniform one, so method=lora trains the same.")
    sentences.append(_full_sentence(allocation.problem, allocation.ranks))
    return " ".join(filter(None, sentences))


def _comparison_sentence(allocation: Allocation) -> str:
    gelora = allocation.gelora
    if not gelora:
        return "GeLoRA itself can't meet this budget: it is below its lower bounds."
    if allocation.ranks == gelora:
        return "This plan equals GeLoRA's: the two are one."
    listed = " ".join(map(str, gelora))
    return f"GeLoRA's ranks: {listed}{', which are the uniform ones' if gelora == allocation.uniform else ''}."


def _uniform_sentence(allocation: Allocation, growths: Sequence[Fraction]) -> str:
    if allocation.ranks != allocation.uniform:
        return ""
    reason = _why_uniform(allocation.problem, allocation.ranks, growths)
    return f"The plan equals the uniform one, so method=lora trains the same: {reason}."


def _why_uniform(problem: AllocationProblem, ranks: Ranks, growths: Sequence[Fraction]) -> str:
    if len(ranks) == 1:
        return "there is one block"
    if ranks == problem.caps:
        return "every block is full"
    if not any(growths):
        return "no block's idim grows, so the rule has no preference"
    if len(set(growths)) == 1:
        return "all blocks grow by the same"
    return "the growths differ, but they move no unit of rank at this budget"


def _below_sentence(problem: AllocationProblem, ranks: Ranks, lower_bounds: Ranks) -> str:
    below = [i for i, bound in enumerate(lower_bounds, 1) if ranks[i - 1] < bound]
    if not below:
        return ""
    if problem.bound is None:
        setting = f"ranks.rounding={problem.rule.rounding}"
    elif problem.rule.name == "growth+1":
        setting = "ranks.on_deficit=shrink"
    else:
        setting = f"ranks.rule={problem.rule.name}"
    return f"{_blocks(below)} below the lower bound ({setting})."


def _full_sentence(problem: AllocationProblem, ranks: Ranks) -> str:
    full = [target.block for target, rank in zip(problem.targets, ranks, strict=True) if rank == target.max_rank]
    if not full:
        return ""
    skipped = "" if problem.bound is None else "; further units pass over"
    return f"{_blocks(sorted(set(full)))} full: the rank is the smallest side of the modules{skipped}."


def _auto_sentence(allocation: Allocation) -> str:
    """Say what `budget=auto` would give where it costs as much as this budget allows."""
    problem, own = allocation.problem, allocation.weights.own_ranks
    if own is None or problem.bound != problem.cost(own):
        return ""
    same = "the same ranks" if allocation.ranks == own else f"other ranks: {' '.join(map(str, own))}"
    return f"This budget is what auto costs; auto gives {same}."


def _blocks(numbers: Sequence[int]) -> str:
    listed = ", ".join(map(str, numbers))
    return f"Block {listed} is" if len(numbers) == 1 else f"Blocks {listed} are"
