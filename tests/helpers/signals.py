"""Signals that tests add to the registry: cheap ones, of which one reads labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.registries import SIGNALS
from gelora_cli.signals.base import Signal, SignalContext
from tests.helpers.registries import forget_entries_afterwards


@dataclass(frozen=True)
class Norms:
    """The Frobenius norm of the linears of every block."""

    norms: tuple[float, ...]
    model_map: ModelMap
    seconds: float

    FILE: ClassVar[str] = "signal-norms.json"


class NormsSignal(Signal[Norms]):
    """Norms of the weights, which no text changes."""

    name = "norms"
    description = "the Frobenius norm of every block"
    artifact = Norms
    settings = ()
    contents = ("model",)
    measured = 0

    def measure(self, context: SignalContext) -> Norms:
        """Return the norms, and count the measurement."""
        self.measured += 1
        norms = []
        for block in context.model_map.blocks:
            weights = [context.model.get_parameter(f"{linear.name}.weight") for linear in block.linears]
            norms.append(sum(float(weight.detach().square().sum()) for weight in weights) ** 0.5)
        return Norms(tuple(norms), context.model_map, 0.25)


@dataclass(frozen=True)
class Counts:
    """How many training rows have a label."""

    rows: int
    model_map: ModelMap
    seconds: float

    FILE: ClassVar[str] = "signal-counts.json"


class CountsSignal(Signal[Counts]):
    """A signal that reads labels."""

    name = "counts"
    description = "the number of labels"
    artifact = Counts
    settings = ()
    contents = ("train",)
    needs_labels = True

    def measure(self, context: SignalContext) -> Counts:
        """Return how many training rows there are, all of which have labels."""
        return Counts(context.rows, context.model_map, 0.5)


@pytest.fixture
def more_signals(monkeypatch: pytest.MonkeyPatch) -> NormsSignal:
    """Register both signals for a test, and return the one that counts its measurements."""
    forget_entries_afterwards(monkeypatch, SIGNALS)
    SIGNALS.register(NormsSignal)
    SIGNALS.register(CountsSignal)
    norms = SIGNALS.get("norms")
    assert isinstance(norms, NormsSignal)
    return norms
