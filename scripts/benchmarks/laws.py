"""Laws of growth fitted to measured points, by least squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Law:
    """What is measured at some sizes, and the law fitted to it.

    Attributes:
        kind: `power`, y = a x^b, fitted in logarithms, or `line`, y = a + b x.
        a: the factor or the constant.
        b: the exponent or the slope.
        r2: the coefficient of determination, of the logarithms for a power.
        residual: the largest deviation of a point from the law, relative to the point.
    """

    kind: str
    sizes: tuple[float, ...]
    values: tuple[float, ...]
    a: float
    b: float
    r2: float
    residual: float

    def at(self, size: float) -> float:
        """Return what the law says at a size, which may lie outside of what was measured."""
        return float(self.a * size**self.b if self.kind == "power" else self.a + self.b * size)

    def text(self, name: str) -> str:
        """Return the law as a formula of `name`."""
        return f"{self.a:.3g} {name}^{self.b:.2f}" if self.kind == "power" else f"{self.a:.3g} + {self.b:.3g} {name}"


def fit_power(sizes: Sequence[float], values: Sequence[float]) -> Law:
    """Fit y = a x^b in logarithms, so that each point counts by its relative deviation."""
    x, y = np.log(np.array(sizes, np.float64)), np.log(np.array(values, np.float64))
    b, log_a = np.polyfit(x, y, 1)
    a = float(np.exp(log_a))
    r2 = _determination(y, log_a + b * x)
    return Law("power", tuple(sizes), tuple(values), a, float(b), r2, _largest(values, a * np.array(sizes) ** b))


def fit_line(sizes: Sequence[float], values: Sequence[float]) -> Law:
    """Fit y = a + b x."""
    x, y = np.array(sizes, np.float64), np.array(values, np.float64)
    b, a = np.polyfit(x, y, 1)
    fitted = a + b * x
    return Law("line", tuple(sizes), tuple(values), float(a), float(b), _determination(y, fitted), _largest(y, fitted))


def _determination(y: NDArray[np.float64], fitted: NDArray[np.float64]) -> float:
    spread = float(np.square(y - y.mean()).sum())
    return 1 - float(np.square(y - fitted).sum()) / spread if spread else 1.0


def _largest(values: Sequence[float] | NDArray[np.float64], fitted: NDArray[np.float64]) -> float:
    return float(np.max(np.abs(fitted / np.array(values) - 1)))
