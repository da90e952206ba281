"""GeLoRA's own ranks: units go where the intrinsic dimension grows (arXiv 2412.09250); no torch, no numpy.

With growth `g_i = max(d_i - d_{i-1}, 0)` the rule is `r_i = g_i + 1` (theorem 3.2 for the bound; the +1 is a heuristic
that keeps every block trainable). How a budget is met is this project's choice.

All arithmetic is in fractions of the decimal numbers that the profile's JSON shows: equal growths tie exactly, and
4.4 - 3.4 is 1 here (in binary floating point it is more than 1, and its ceiling 2).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.base import IDIM, MEASURE_AGAIN, Allocation, Allocator, SmallerSample
from gelora_cli.allocation.jackknife import inflate
from gelora_cli.allocation.layer_checks import constant_layers_text, plan_warnings
from gelora_cli.allocation.notes import growth_note
from gelora_cli.allocation.problem import AllocationProblem, Weights, exact_number
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import ALLOCATORS

RULES = ("growth+1", "growth")
ROUNDING: dict[str, Callable[[Fraction], int]] = {
    "up": math.ceil,
    "nearest": lambda rank: math.floor(rank + Fraction(1, 2)),
    "down": math.floor,
}

IDIM_DECIMALS = 6
"""Decimals of an inflated idim: enough for its noise, and few enough that its fractions stay small."""


class IdimAllocator(Allocator[IdProfile]):
    """An allocator that reads the idim profile and weighs blocks as GeLoRA does; its controls are subclasses, too."""

    signal = IDIM

    def weigh(self, signal: IdProfile, problem: AllocationProblem) -> Weights:
        """Return GeLoRA's weights: the growth of each block, by the rule; a module has those of its block."""
        return problem.spread_weights(growth_weights(block_growths(signal), problem.by_block()))

    def resampled(self, signal: IdProfile) -> tuple[IdProfile, ...]:
        """Return the profile without each tenth of its texts; empty if a layer was measured before there was such."""
        return _profiles(signal, jackknife_columns(signal))

    def replicates(self, signal: IdProfile, problem: AllocationProblem) -> tuple[Weights, ...]:
        """Return the weights of ten profiles whose idims scatter as those of other texts would.

        The idims are inflated, not the growths: a growth is cut off at 0, where nine tenths of the texts may hide how
        far another sample would rise above it.
        """
        columns = jackknife_columns(signal)
        if not columns:
            return ()
        inflated = []
        for row, column in zip(signal.layers, columns, strict=True):
            idims = inflate(row.idim, column, neighbour_excess(signal))
            inflated.append([round(max(idim, 0.0), IDIM_DECIMALS) for idim in idims])
        return tuple(self.weigh(profile, problem) for profile in _profiles(signal, inflated))

    def smaller_samples(self, signal: IdProfile) -> tuple[SmallerSample[IdProfile], ...]:
        """Return the profiles of the mean idims over halves, quarters and eighths of the texts."""
        samples = []
        for part, name in ((2, "half"), (4, "quarter"), (8, "eighth")):
            idims = [0.0 if row.by_definition else getattr(row, name) for row in signal.layers]
            if None in idims:
                break
            (profile,) = _profiles(signal, [[idim] for idim in idims])
            samples.append(SmallerSample(part=part, examples=signal.examples_used // part, signal=profile))
        return tuple(samples)

    def remedy(self, signal: IdProfile) -> str:
        """Return to measure more rows, if the split has more, or the texts in another way."""
        pooling = f"another pooling than profile.pooling={signal.settings.pooling}"
        scale = "another scale (profile.scales=true shows them, profile.estimator=gride takes one)"
        rows = _more_rows(signal)
        if not rows:
            return f"measure {pooling}, or {scale} (all {signal.examples_seen:,} rows are in this profile)"
        return f"measure {rows}, {pooling}, or {scale}"

    def unmeasured(self, signal: IdProfile) -> str:
        """Return what helps a layer with too few points to leave out a tenth, or to measure an older profile again."""
        # A profile from before there were tenths has halves, unless it has too few points for them.
        short = [row for row in signal.layers if not (row.jackknife or row.by_definition) and row.half is None]
        if not short:
            return MEASURE_AGAIN
        # Rows that the split lacks can't be measured; other pooling leaves fewer duplicates.
        remedy = _more_rows(signal) or f"another pooling than profile.pooling={signal.settings.pooling}"
        return f"layer {short[0].layer} has too few points for it ({short[0].used:,}): measure {remedy}"

    def caveat(self, signal: IdProfile) -> str:
        """Return the constant layers, whose idim is 0 in every sample."""
        return constant_layers_text(signal)

    def warnings(self, signal: IdProfile) -> tuple[str, ...]:
        """Return what `plan_warnings` says of the profile."""
        return plan_warnings(signal)


@ALLOCATORS.register
class Growth(IdimAllocator):
    """Ranks in proportion to the growth of the idim across each block."""

    name = "growth"

    def rank_ends(self, signal: IdProfile, problem: AllocationProblem) -> tuple[tuple[int | None, int | None], ...]:
        """Return each target's rank with its block's growth at the ends of the intervals, the others as estimated.

        The growth of layer i is then `low_i - high_{i-1}` or `high_i - low_{i-1}`, and not below 0; that of a block is
        the largest over its passes. Of the modules of a block each has the largest of their ranks.
        """
        growths, ends = block_growths(signal), []
        pairs = list(itertools.pairwise(signal.layers))
        smallest = _largest_over_passes(signal, [growth_between(before.high, after.low) for before, after in pairs])
        largest = _largest_over_passes(signal, [growth_between(before.low, after.high) for before, after in pairs])
        for i in range(len(growths)):
            ends.append((_rank_with(problem, growths, i, smallest[i]), _rank_with(problem, growths, i, largest[i])))
        return problem.spread(ends)

    def note(self, signal: IdProfile, allocation: Allocation) -> str:
        """Return whether the plan equals another, and which blocks are below their lower bound or full."""
        growths = block_growths(signal)
        return growth_note(allocation, growths, lower_bounds(growths, allocation.problem.by_block()))


def block_growths(profile: IdProfile) -> tuple[Fraction, ...]:
    """Return the growth of every block, exact: `max(d_i - d_{i-1}, 0)` of the layer i that it produces.

    That of a block which runs several times is the largest over its passes, since its one rank must serve them all
    [ours].

    Raises:
        GeloraError: the profile doesn't fit its model, or holds an idim that is no finite number.
    """
    return _largest_over_passes(profile, layer_growths(profile))


def layer_growths(profile: IdProfile) -> tuple[Fraction, ...]:
    """Return `max(d_i - d_{i-1}, 0)` of every layer i from 1 to L, exact.

    Raises:
        GeloraError: as `block_growths`.
    """
    model_map, layers = profile.model_map, [row.layer for row in profile.layers]
    blocks, last = len(model_map.blocks), len(model_map.layers)
    if layers != list(range(last + 1)):
        raise GeloraError(f"the profile has layers {layers}, but {blocks} blocks need 0 to {last}. Profile again.")
    pairs = itertools.pairwise(profile.layers)
    return tuple(growth_between(before.idim, after.idim) for before, after in pairs)


def growing_layers(profile: IdProfile) -> tuple[int, ...]:
    """Return for each block the layer that it produces with its growth; the first of equal ones."""
    growths = layer_growths(profile)
    return tuple(max(block.layers, key=lambda layer: growths[layer - 1]) for block in profile.model_map.blocks)


def _largest_over_passes(profile: IdProfile, growths: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """Return for each block the largest of the growths, one for each layer from 1, over the layers it produces."""
    largest = []
    for block in profile.model_map.blocks:
        largest.append(max(growths[layer - 1] for layer in block.layers))
    return tuple(largest)


def growth_between(before: float, after: float) -> Fraction:
    """Return how far the second idim is above the first, exact and not below 0."""
    rise = exact_number(after, "idim") - exact_number(before, "idim")
    return max(rise, Fraction(0))


def growth_weights(growths: Sequence[Fraction], problem: AllocationProblem) -> Weights:
    """Return the weights of the rule.

    `growth+1`: weights `g_i + 1` from the lower bounds. `growth`: weights `g_i` from rank 1, so that blocks without
    growth stay there; equal weights if nothing grows.
    """
    own = problem.within_caps(ROUNDING[problem.rule.rounding](rank) for rank in real_ranks(growths, problem))
    if problem.rule.name == "growth+1":
        values = tuple(growth + 1 for growth in growths)
        return Weights(values=values, start=lower_bounds(growths, problem), own_ranks=own)
    return Weights(values=Weights.proportional(growths).values, start=problem.ones, own_ranks=own)


def real_ranks(growths: Sequence[Fraction], problem: AllocationProblem) -> tuple[Fraction, ...]:
    """Return `r_i` before rounding; the rule `growth` keeps every block at 1 at least."""
    if problem.rule.name == "growth+1":
        return tuple(growth + 1 for growth in growths)
    return tuple(max(growth, Fraction(1)) for growth in growths)


def lower_bounds(growths: Sequence[Fraction], problem: AllocationProblem) -> Ranks:
    """Return `l_i = max(1, ceil(g_i))`, at most the block's largest rank."""
    return problem.within_caps(map(math.ceil, growths))


def neighbour_excess(profile: IdProfile) -> float:
    """Return how many times the jackknife's standard error of an idim is too large.

    Where texts are left out, those that stay get other neighbours, which adds a scatter that a new sample does not
    have. On cubes and Gaussians of dimension 2 to 10, at 200 and 1,000 points, the jackknife's error was 1.6 to 1.9
    times the true one for TwoNN, for GRIDE 1.5 to 1.8 times at n1 = 2, 1.2 to 1.8 at 8 and 1.2 to 1.6 at 32
    (`scripts/calibrate_stability.py errors`). The low end is taken for larger neighbourhoods: too much noise hides a
    preference, too little invents one.
    """
    is_wide = profile.settings.estimator == "gride" and (profile.scale or 1) > 2
    return 1.3 if is_wide else 1.7


def jackknife_columns(profile: IdProfile) -> list[tuple[float, ...]]:
    """Return each layer's idims without a tenth of the texts; empty if a layer with an estimate has none."""
    tenths = max((len(row.jackknife) for row in profile.layers), default=0)
    columns = [row.jackknife or (row.idim,) * (tenths if row.by_definition else 0) for row in profile.layers]
    return columns if tenths and {len(column) for column in columns} == {tenths} else []


def _more_rows(profile: IdProfile) -> str:
    """Return how many more rows to measure; empty if the split has no more."""
    drawn, seen = profile.examples_drawn, profile.examples_seen
    if drawn >= seen:
        return ""
    return f"more rows (profile.max_examples={min(4 * drawn, seen)}; the split has {seen:,})"


def _profiles(profile: IdProfile, columns: Sequence[Sequence[float]]) -> tuple[IdProfile, ...]:
    """Return a profile for each of the columns' rows: the k-th has the k-th idim of every layer."""
    profiles = []
    for idims in zip(*columns, strict=True):
        layers = tuple(replace(row, idim=idim) for row, idim in zip(profile.layers, idims, strict=True))
        profiles.append(replace(profile, layers=layers))
    return tuple(profiles)


def _rank_with(problem: AllocationProblem, growths: Sequence[Fraction], i: int, growth: Fraction) -> int | None:
    """Return block i's largest rank if it alone has this growth; None if the budget can't hold that."""
    changed = (*growths[:i], growth, *growths[i + 1 :])
    weights = problem.spread_weights(growth_weights(changed, problem.by_block()))
    try:
        return problem.largest_of_blocks(problem.apportion(weights))[i]
    except GeloraError:
        return None
