"""EVA's ranks with the ordinary start of LoRA (arXiv 2410.07170): its two effects apart. No torch.

EVA takes both the ranks and the first values of A from the activations. Here only the ranks follow them: units go to
the components of all linears' inputs in the order of their share of the variance. A linear that gets none is left out,
as in EVA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Protocol, cast

from gelora_cli.allocation.activations import ACTIVATIONS, spectra, without_tenths
from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.base import Allocator
from gelora_cli.allocation.explained_variance import cut_components, even_ranks, most_components
from gelora_cli.allocation.jackknife import inflate
from gelora_cli.allocation.linears import check_measured
from gelora_cli.allocation.problem import AllocationProblem, Granularity, Weights, exact_number
from gelora_cli.core.artifacts.signals import ActivationSignal, Spectrum
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import ALLOCATORS


class EvaKeys(Protocol):
    """The keys of a method that chooses ranks as EVA does."""

    rho: float


@dataclass(frozen=True, kw_only=True)
class ComponentWeights(Weights):
    """Weights with the components that they are made of.

    Attributes:
        shares: the share of the variance of each component of each target, descending.
    """

    shares: tuple[tuple[Fraction, ...], ...]


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
        return _component_weights(problem, self._shares_of(signal, problem))

    def _shares_of(self, signal: ActivationSignal, problem: AllocationProblem) -> list[tuple[Fraction, ...]]:
        """Return the shares of every target's components."""
        by_name = spectra(signal)
        check_measured([linear.name for target in problem.targets for linear in target.linears], by_name, self.signal)
        return [_shares([by_name[linear.name] for linear in target.linears]) for target in problem.targets]

    def allocate(self, problem: AllocationProblem, weights: Weights, seed: int) -> Ranks:
        """Return the components before the cut, at most `method.rho` times the even rank in each target.

        Raises:
            GeloraError: the budget is below one unit, or a target would get more components than were measured.
        """
        if not isinstance(weights, ComponentWeights):  # not measured yet, so even
            return problem.apportion(weights)
        if (cheapest := min(problem.costs)) > problem.largest_cost:
            raise GeloraError(
                f"budget={problem.budget} gives the adapter {problem.largest_cost:,} parameters, but one unit of rank "
                f"costs {cheapest:,}; the smallest possible is budget={cheapest}. Give that or more."
            )
        limits = _limits(problem)
        allowed = [row[:limit] for row, limit in zip(weights.shares, limits, strict=True)]
        ranks = cut_components(allowed, problem.costs, problem.largest_cost)
        for target, rank, limit, row in zip(problem.targets, ranks, limits, weights.shares, strict=True):
            if rank == len(row) < limit:
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
        whole, *samples = [self._shares_of(sample, problem) for sample in (signal, *self.resampled(signal))]
        inflated: list[list[list[Fraction]]] = [[[] for _ in whole] for _ in samples]
        for target, row in enumerate(whole):
            for component, share in enumerate(row):
                column = (
                    inflate(float(share), [float(sample[target][component]) for sample in samples]) if samples else []
                )
                for replicate, number in zip(inflated, column, strict=True):
                    replicate[target].append(exact_number(max(number, 0.0), "explained variance"))
        return tuple(_component_weights(problem, shares) for shares in inflated)


def _shares(spectra_of_target: Sequence[Spectrum]) -> tuple[Fraction, ...]:
    """Return the share of each component, the mean over the linears of the target."""
    count = min(len(spectrum.explained) for spectrum in spectra_of_target)
    shares = []
    for component in range(count):
        of_linears = [exact_number(row.explained[component], "explained variance") for row in spectra_of_target]
        shares.append(sum(of_linears, Fraction(0)) / len(of_linears))
    return tuple(shares)


def _component_weights(problem: AllocationProblem, shares: Sequence[Sequence[Fraction]]) -> ComponentWeights:
    """Return the weights of these components; no rank to begin with."""
    values = []
    for row, limit in zip(shares, _limits(problem), strict=True):
        values.append(sum(row[:limit], Fraction(0)))
    return ComponentWeights(values=tuple(values), start=(0,) * len(values), shares=tuple(map(tuple, shares)))


def _limits(problem: AllocationProblem) -> Ranks:
    """Return the most components of each target, as EVA bounds them, and at most its largest rank."""
    rho = cast("EvaKeys", problem.settings).rho
    even = even_ranks(problem.costs, problem.caps, problem.largest_cost)
    inputs = [linear.in_features for target in problem.targets for linear in target.linears]
    most = most_components(rho, max(1, *even), min(inputs))
    return tuple(min(most, cap) for cap in problem.caps)
