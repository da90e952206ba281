"""EVA's ranks with the ordinary start of LoRA (arXiv 2410.07170): its two effects apart. No torch.

EVA takes both the ranks and the first values of A from the activations. Here only the ranks follow them: units go to
the components of all linears' inputs in the order of their share of the variance. A linear that gets none is left out,
as in EVA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import ClassVar, Protocol, cast

from gelora_cli.allocation.activations import ACTIVATIONS, spectra, without_tenths
from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.base import Allocator
from gelora_cli.allocation.explained_variance import cut_components, even_ranks, most_components
from gelora_cli.allocation.jackknife import inflate
from gelora_cli.allocation.linears import check_measured
from gelora_cli.allocation.problem import AllocationProblem, Granularity, Weights, exact_number
from gelora_cli.core.artifacts.signals import ActivationSignal
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import ALLOCATORS


class EvaKeys(Protocol):
    """The keys of a method that chooses ranks as EVA does."""

    rho: float


@dataclass(frozen=True, kw_only=True)
class ComponentWeights(Weights):
    """Weights with the components that they are made of.

    Attributes:
        shares: the share of the variance of each component of each target, descending, as far as it may get them.
        limits: the most components that each target may get.
        refuses: whether a target may not get all its components where it may get more than were measured.
    """

    shares: tuple[tuple[float, ...], ...]
    limits: Ranks
    refuses: bool = True


@ALLOCATORS.register
class EvaRanks(Allocator[ActivationSignal]):
    """Ranks are the components that stand before the cut.

    A weight is the share of the variance that the components of a target explain which it may get. A block's k-th
    component has the mean share of its linears' k-th components [ours].
    """

    name = "eva_ranks"
    signal = ACTIVATIONS
    granularity: ClassVar[Granularity] = "module"

    def weigh(self, signal: ActivationSignal, problem: AllocationProblem) -> Weights:
        """Return the shares of every target's components."""
        limits = _limits(problem)
        return _component_weights(self._shares(signal, problem, limits), limits)

    def allocate(self, problem: AllocationProblem, weights: Weights, seed: int) -> Ranks:
        """Return the components before the cut, at most `method.rho` times the even rank in each target.

        Raises:
            GeloraError: the budget is below one unit, or a target would get more components than were measured.
        """
        if (cheapest := min(problem.costs)) > problem.largest_unit_cost:
            fixed = sum(problem.fixed_costs)
            beside = f", and method.variant={problem.rule.variant} {fixed:,} beside the ranks" if fixed else ""
            raise GeloraError(
                f"budget={problem.budget} gives the adapter {problem.largest_cost:,} parameters, but one unit of rank "
                f"costs {cheapest:,}{beside}; the smallest possible is budget={cheapest + fixed}. Give that or more."
            )
        if not isinstance(weights, ComponentWeights):  # not measured yet, so even, and like the cut from nothing on
            return problem.apportion(replace(weights, start=(0,) * len(weights.start)))
        ranks = cut_components(weights.shares, problem.costs, problem.largest_unit_cost)
        for target, rank, limit, row in zip(problem.targets, ranks, weights.limits, weights.shares, strict=True):
            if weights.refuses and rank == len(row) < limit:
                raise GeloraError(
                    f"method=eva_ranks: all {rank} components that were measured of {target.linears[0].name} are "
                    f"taken, and up to {limit} could be. Give a smaller budget, or a smaller method.rho."
                )
        return ranks

    def resampled(self, signal: ActivationSignal) -> Sequence[ActivationSignal]:
        """Return the signal without each tenth of its texts; none where that was not measured."""
        return without_tenths(signal)

    def replicates(self, signal: ActivationSignal, problem: AllocationProblem) -> tuple[Weights, ...]:
        """Return components whose shares scatter as those of ten other samples would: each share is inflated."""
        limits = _limits(problem)
        whole, *samples = [self._shares(sample, problem, limits) for sample in (signal, *self.resampled(signal))]
        if not samples:
            return ()
        inflated: list[list[list[float]]] = [[] for _ in samples]  # by replicate, target, component
        for target, row in enumerate(whole):
            columns = zip(row, *(sample[target] for sample in samples), strict=False)
            inflated_columns = [inflate(share, column) for share, *column in columns]
            for k, replicate in enumerate(inflated):
                replicate.append([max(column[k], 0.0) for column in inflated_columns])
        # Only the plan itself may refuse.
        return tuple(replace(_component_weights(shares, limits), refuses=False) for shares in inflated)

    def _shares(self, signal: ActivationSignal, problem: AllocationProblem, limits: Ranks) -> list[tuple[float, ...]]:
        """Return the shares of the components that each target may get, the means over its linears."""
        by_name = spectra(signal)
        check_measured([linear.name for target in problem.targets for linear in target.linears], by_name, self.signal)
        shares = []
        for target, limit in zip(problem.targets, limits, strict=True):
            # As many components as each of its linears has: `zip` ends with the shortest.
            rows = [by_name[linear.name].explained[:limit] for linear in target.linears]
            shares.append(tuple(map(fmean, zip(*rows, strict=False))))
        return shares


def _component_weights(shares: Sequence[Sequence[float]], limits: Ranks) -> ComponentWeights:
    """Return the weights of these components; no rank to begin with."""
    values = tuple(exact_number(sum(row), "explained variance") for row in shares)
    return ComponentWeights(values=values, start=(0,) * len(values), shares=tuple(map(tuple, shares)), limits=limits)


def _limits(problem: AllocationProblem) -> Ranks:
    """Return the most components of each target, as EVA bounds them, and at most its largest rank."""
    rho = cast("EvaKeys", problem.settings).rho
    even = even_ranks(problem.costs, problem.caps, max(0, problem.largest_unit_cost))
    inputs = [linear.in_features for target in problem.targets for linear in target.linears]
    most = most_components(rho, max(1, *even), min(inputs))
    return tuple(min(most, cap) for cap in problem.caps)
