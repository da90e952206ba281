"""The rows of a plan: what each block gets, and what its weights and its growth were. No torch, no numpy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.growth import block_growths, growing_layers, lower_bounds, real_ranks
from gelora_cli.allocation.problem import AllocationProblem, Target, Weights
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.plan import BlockRank
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.registries import VARIANTS

RankEnds = tuple[int | None, int | None]
"""A rank at the lower and at the upper end of a signal's error; None where it has none, or the budget can't hold it."""


def block_row(block: int, rank: int, modules: tuple[str, ...], params: int) -> BlockRank:
    """Return the row of a block whose rank does not come from a profile."""
    return BlockRank(
        block=block,
        idim_in=None,
        idim_out=None,
        growth=None,
        lower_bound=None,
        real_rank=None,
        rank=rank,
        rank_low=None,
        rank_high=None,
        modules=modules,
        params=params,
    )


def block_rows(problem: AllocationProblem, ranks: Ranks, weights: Weights | None) -> tuple[BlockRank, ...]:
    """Return a row per block; with a target per module the row has the rank and the weight of each."""
    by_block: dict[int, list[tuple[Target, int]]] = {}
    weights_by_block: dict[int, list[float]] = {}
    fixed_by_block: dict[int, int] = {}
    for target, rank, fixed in zip(problem.targets, ranks, problem.fixed_costs, strict=True):
        by_block.setdefault(target.block, []).append((target, rank))
        fixed_by_block[target.block] = fixed_by_block.get(target.block, 0) + (fixed if rank else 0)
    for target, value in zip(problem.targets, weights.values if weights else (), strict=weights is not None):
        weights_by_block.setdefault(target.block, []).append(float(value))
    rows = []
    for block, ranked in by_block.items():
        values = weights_by_block.get(block, [])
        row = block_row(
            block,
            max(rank for _, rank in ranked),  # the largest, if each module has a rank of its own
            tuple(linear.name for target, _ in ranked for linear in target.linears),
            fixed_by_block[block] + sum(rank * target.unit_params for target, rank in ranked),
        )
        row = replace(
            row,
            module_ranks=tuple(rank for _, rank in ranked) if len(ranked) > 1 else None,
            weight=max(values, default=None),
            module_weights=tuple(values) if len(values) > 1 else None,
        )
        rows.append(row)
    return tuple(rows)


def with_passes(rows: Iterable[BlockRank], model_map: ModelMap) -> tuple[BlockRank, ...]:
    """Return the rows with the layers that each block produces, where blocks run several times."""
    if not model_map.shares_blocks:
        return tuple(rows)
    passes = {block.index: block.layers for block in model_map.blocks}
    return tuple(replace(row, passes=passes[row.block]) for row in rows)


def with_scalings(
    rows: Sequence[BlockRank], problem: AllocationProblem, scaling: float, uniform: Ranks
) -> tuple[BlockRank, ...]:
    """Return the rows with `alpha / r` of every module, where a variant gives one another than the plan's.

    Args:
        rows: a row per block.
        problem: what was allocated; its rule names the variant.
        scaling: the plan's own `alpha / r`.
        uniform: the rank of each target in the uniform plan under the same budget; empty where the budget holds none,
            and then it is taken to be 1.
    """
    uniform_ranks: dict[str, int] = {}
    for target, rank in zip(problem.targets, uniform or problem.ones, strict=True):
        uniform_ranks |= {linear.name: rank for linear in target.linears}
    variant = VARIANTS.get(problem.rule.variant)
    scaled = []
    for row in rows:
        scalings = variant.scalings(scaling, row.ranks_by_module, uniform_ranks)
        of_modules = tuple(scalings.get(name, scaling) for name in row.modules)  # a module of rank 0 has none
        differs = any(value != scaling for value in of_modules)
        scaled.append(replace(row, module_scalings=of_modules if differs else None))
    return tuple(scaled)


def ends_of_blocks(problem: AllocationProblem, ends: Sequence[RankEnds]) -> tuple[RankEnds, ...]:
    """Return the ends of each block's rank; the targets of a block share theirs."""
    return tuple(dict(zip((target.block for target in problem.targets), ends, strict=True)).values())


def with_growth(
    rows: Sequence[BlockRank],
    profile: IdProfile,
    problem: AllocationProblem,
    rank_ends: Sequence[tuple[int | None, int | None]],
) -> tuple[BlockRank, ...]:
    """Return the rows with what the profile says of each block, of a shared one in the pass with its growth."""
    growths, layers = block_growths(profile), growing_layers(profile)  # a block's layer is its output
    bounds, reals = lower_bounds(growths, problem), real_ranks(growths, problem)
    return tuple(
        replace(
            row,
            idim_in=profile.layers[layers[i] - 1].idim,
            idim_out=profile.layers[layers[i]].idim,
            growth=float(growths[i]),
            lower_bound=bounds[i],
            real_rank=float(reals[i]),
            rank_low=rank_ends[i][0],
            rank_high=rank_ends[i][1],
        )
        for i, row in enumerate(rows)
    )
