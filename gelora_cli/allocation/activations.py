"""Ranks by how many directions the inputs of a linear fill: does TwoNN beat plain PCA? [ours] No torch.

Per block unless `ranks.granularity` says otherwise, so that only the signal differs from GeLoRA's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Protocol, cast

from gelora_cli.allocation.linears import LinearAllocator
from gelora_cli.allocation.problem import Granularity
from gelora_cli.core.artifacts.signals import ActivationSignal, Spectrum
from gelora_cli.core.registries import ALLOCATORS

ACTIVATIONS = "activations"
"""The name of the signal."""

MEASURES = ("effective_rank", "participation_ratio")


class ActivationKeys(Protocol):
    """The keys of a method that chooses ranks by activations."""

    measure: str


@ALLOCATORS.register
class Activations(LinearAllocator[ActivationSignal]):
    """Weights are the effective rank of the inputs' covariance, or its participation ratio."""

    name = "activations"
    signal = ACTIVATIONS
    granularity: ClassVar[Granularity] = "block"

    def values(self, signal: ActivationSignal, settings: object) -> Mapping[str, float]:
        """Return the number that `method.measure` names, by linear."""
        measure = cast("ActivationKeys", settings).measure
        values = {}
        for name, spectrum in spectra(signal).items():
            is_ratio = measure == "participation_ratio"
            values[name] = spectrum.participation_ratio if is_ratio else spectrum.effective_rank
        return values

    def resampled(self, signal: ActivationSignal) -> Sequence[ActivationSignal]:
        """Return the signal without each tenth of its texts; none where that was not measured."""
        return without_tenths(signal)


def spectra(signal: ActivationSignal) -> dict[str, Spectrum]:
    """Return the spectrum of the inputs of each linear, by its full name."""
    by_name: dict[str, Spectrum] = {}
    for row in signal.inputs:
        by_name |= dict.fromkeys(row.names, row.spectrum)
    return by_name


def without_tenths(signal: ActivationSignal) -> list[ActivationSignal]:
    """Return the signal without each tenth of its texts; none where that was not measured."""
    signals = []
    for tenth in range(min((len(row.jackknife) for row in signal.inputs), default=0)):
        rows = [replace(row, spectrum=row.jackknife[tenth], jackknife=()) for row in signal.inputs]
        signals.append(replace(signal, inputs=tuple(rows)))
    return signals
