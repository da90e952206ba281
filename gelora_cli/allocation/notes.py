"""Sentences about a plan: whether it equals another one, and which blocks are full or below a bound; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from statistics import mean
from typing import TYPE_CHECKING

from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.problem import AllocationProblem

if TYPE_CHECKING:
    from gelora_cli.allocation.base import Allocation


def growth_note(allocation: Allocation, growths: Sequence[Fraction], lower_bounds: Ranks) -> str:
    """Return what to know of GeLoRA's own ranks; empty if there is nothing to say. `lower_bounds` are of blocks."""
    problem, ranks = allocation.problem, allocation.ranks
    sentences = (
        _uniform_sentence(allocation, growths),
        _below_sentence(problem, ranks, problem.spread(lower_bounds)),
        _full_sentence(problem, ranks),
        _auto_sentence(allocation),
    )
    return " ".join(filter(None, sentences))


def control_note(allocation: Allocation) -> str:
    """Return GeLoRA's ranks, which a control is compared with, and which blocks are full."""
    gelora = allocation.gelora
    if not gelora:
        comparison = "GeLoRA itself can't meet this budget: it is below its lower bounds."
    elif allocation.ranks == gelora:
        comparison = "This plan equals GeLoRA's: the two are one."
    else:
        ranks = " ".join(map(str, allocation.problem.largest_of_blocks(gelora)))
        are_uniform = ", which are the uniform ones" if gelora == allocation.uniform else ""
        comparison = f"For comparison, GeLoRA's ranks: {ranks}{are_uniform}."
    return " ".join(filter(None, (comparison, _full_sentence(allocation.problem, allocation.ranks))))


def weights_note(allocation: Allocation) -> str:
    """Return the weights of another signal, and whether the plan is the uniform one."""
    sentences = [_weights_sentence(allocation.problem, allocation.weights.values)]
    if allocation.ranks == allocation.uniform:
        sentences.append("The plan equals the uniform one, so method=lora trains the same.")
    elif allocation.ranks == allocation.gelora:
        sentences.append("The plan equals GeLoRA's, so method=gelora trains the same.")
    sentences.append(_full_sentence(allocation.problem, allocation.ranks))
    return " ".join(filter(None, sentences))


def _weights_sentence(problem: AllocationProblem, values: Sequence[Fraction]) -> str:
    """Return the weight of each block; where its modules have weights of their own, their mean."""
    of_blocks: list[list[float]] = [[] for _ in range(problem.blocks)]
    for target, value in zip(problem.targets, values, strict=True):
        of_blocks[target.block - 1].append(float(value))
    weights = " ".join(f"{mean(block):.4g}" for block in of_blocks)
    return (
        f"Weights, as means over the modules of a block: {weights}." if problem.has_modules else f"Weights: {weights}."
    )


def _uniform_sentence(allocation: Allocation, growths: Sequence[Fraction]) -> str:
    """Return that the plan is the uniform one and why; empty if it is not."""
    if allocation.ranks != allocation.uniform:
        return ""
    # The first reason that applies: each of the later ones may hold as well, but explains less.
    if len(allocation.ranks) == 1:
        reason = "there is one block"
    elif allocation.ranks == allocation.problem.caps:
        reason = "every block is full"
    elif not any(growths):
        reason = "no block's idim grows, so the rule has no preference"
    elif len(set(growths)) == 1:  # growths are exact, so equal ones are equal
        reason = "all blocks grow by the same"
    else:
        reason = "the growths differ, but they move no unit of rank at this budget"
    return f"The plan equals the uniform one, so method=lora trains the same: {reason}."


def _below_sentence(problem: AllocationProblem, ranks: Ranks, lower_bounds: Ranks) -> str:
    """Return which blocks are below their lower bound, and the setting that allows it; the bounds are of targets."""
    rows = zip(problem.targets, ranks, lower_bounds, strict=True)
    below = sorted({target.block for target, rank, bound in rows if rank < bound})
    if not below:
        return ""
    if problem.bound is None:
        setting = f"ranks.rounding={problem.rule.rounding}"
    elif problem.rule.name == "growth+1":
        setting = "ranks.on_deficit=shrink"
    else:
        setting = f"ranks.rule={problem.rule.name}"
    return f"{_blocks(below, problem)} below the lower bound ({setting})."


def _full_sentence(problem: AllocationProblem, ranks: Ranks) -> str:
    """Return which blocks have the largest rank that their modules can have."""
    full = [target.block for target, rank in zip(problem.targets, ranks, strict=True) if rank == target.max_rank]
    if not full:
        return ""
    skipped = "" if problem.bound is None else "; further units pass over"
    return f"{_blocks(sorted(set(full)), problem)} full: the rank is the smallest side of the modules{skipped}."


def _auto_sentence(allocation: Allocation) -> str:
    """Return what `budget=auto` gives, if it costs exactly what this budget allows."""
    problem, own = allocation.problem, allocation.weights.own_ranks
    if own is None or problem.bound != problem.cost(own):
        return ""
    same = "the same ranks"
    if allocation.ranks != own:
        same = f"other ranks: {' '.join(map(str, problem.largest_of_blocks(own)))}"
    return f"This budget is what auto costs; auto gives {same}."


def _blocks(numbers: Sequence[int], problem: AllocationProblem) -> str:
    """Return the blocks as the subject of a sentence with its verb; where modules have ranks, their modules."""
    names = ", ".join(map(str, numbers))
    if problem.has_modules:
        return f"Modules of block{'s' * (len(numbers) > 1)} {names} are"
    return f"Block {names} is" if len(numbers) == 1 else f"Blocks {names} are"
