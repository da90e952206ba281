"""Signals made by hand: numbers of linears that tests choose, and drawn ones for any model."""

from __future__ import annotations

import random
from collections.abc import Callable

from gelora_cli.core.artifacts.model_map import LinearShape, ModelMap
from gelora_cli.core.artifacts.signals import (
    ActivationSignal,
    GradientNumbers,
    GradientSignal,
    LinearGradients,
    LinearInputs,
    LinearWeight,
    Spectrum,
    WeightSignal,
)

TENTHS = 10


def linears_of(model_map: ModelMap) -> list[LinearShape]:
    return [linear for block in model_map.blocks for linear in block.linears]


def gradient_signal(model_map: ModelMap, number: Callable[[int], float], spread: float = 0.0) -> GradientSignal:
    """Return gradients whose four numbers are 1, 2, 3 and 4 times `number(i)` of the i-th linear of the model.

    Without the t-th tenth of the batches they are `1 + t * spread` times that.
    """

    def numbers(base: float) -> GradientNumbers:
        return GradientNumbers(base, 2 * base, 3 * base, 4 * base)

    rows = []
    for i, linear in enumerate(linears_of(model_map)):
        tenths = tuple(numbers(number(i) * (1 + t * spread)) for t in range(TENTHS))
        rows.append(LinearGradients(linear.name, numbers(number(i)), tenths))
    return GradientSignal("made", "demo", tuple(rows), 10, 8, model_map, 1.0)


def activation_signal(model_map: ModelMap, explained: Callable[[int], tuple[float, ...]]) -> ActivationSignal:
    """Return spectra, one for each linear: the i-th one's largest shares are `explained(i)`.

    The effective rank is `10 + i`, the participation ratio `20 - i / 10`.
    """
    rows = []
    for i, linear in enumerate(linears_of(model_map)):
        spectrum = Spectrum(10.0 + i, 20.0 - i / 10, explained(i))
        rows.append(LinearInputs((linear.name,), spectrum, (spectrum,) * TENTHS))
    return ActivationSignal("made", "demo", tuple(rows), 100, 1000, model_map, 1.0)


def weight_signal(model_map: ModelMap, number: Callable[[int], float]) -> WeightSignal:
    """Return effective ranks `number(i)` of the i-th linear."""
    rows = tuple(LinearWeight(linear.name, number(i)) for i, linear in enumerate(linears_of(model_map)))
    return WeightSignal("made", rows, model_map, 1.0)


def drawn_signals(model_map: ModelMap, seed: int = 0) -> dict[str, GradientSignal | ActivationSignal | WeightSignal]:
    """Return one signal of each kind with drawn numbers."""
    draw = random.Random(seed)

    def number(_: int) -> float:
        return draw.uniform(0.01, 5.0)

    def shares(_: int) -> tuple[float, ...]:
        values = sorted((draw.expovariate(1.0) for _ in range(32)), reverse=True)
        return tuple(value / sum(values) for value in values)

    return {
        "gradients": gradient_signal(model_map, number, spread=0.01),
        "activations": activation_signal(model_map, shares),
        "weights": weight_signal(model_map, number),
    }
