"""How often the 95 % interval of `estimate_idim` holds the estimator's expectation, on clouds of known dimension.

    python -m scripts.idim_coverage [--draws 1000] [--points 20 40 100 400]

The expectation at a number of points is the mean of the estimates over all draws. The docstring of `estimate_idim` says
what was seen.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gelora_cli.geometry.twonn import estimate_idim

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


def sphere(dimension: int) -> Draw:
    """Return a draw of n points, (n, dimension + 1), uniform on the unit sphere."""

    def draw(generator: np.random.Generator, n: int) -> NDArray[np.float64]:
        points = generator.standard_normal((n, dimension + 1))
        return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True))

    return draw


def swiss_roll(generator: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Return n points, (n, 3), on a rolled sheet."""
    angle = 1.5 * np.pi * (1 + 2 * generator.random(n))
    return np.stack([angle * np.cos(angle), 21 * generator.random(n), angle * np.sin(angle)], axis=1)


CLOUDS: dict[str, Draw] = {
    "cube, 2": lambda generator, n: generator.random((n, 2)),
    "cube, 5": lambda generator, n: generator.random((n, 5)),
    "sphere, 2": sphere(2),
    "sphere, 5": sphere(5),
    "Gaussian, 3": lambda generator, n: generator.standard_normal((n, 3)),
    "Gaussian, 10": lambda generator, n: generator.standard_normal((n, 10)),
    "Swiss roll, 2": swiss_roll,
}


def coverage(draw: Draw, points: int, draws: int) -> tuple[float, float]:
    """Return the mean estimate, and the share of the draws whose interval holds it."""
    generator = np.random.default_rng([7, points])
    found = [estimate_idim(draw(generator, points)) for _ in range(draws)]
    mean = float(np.mean([estimate.idim for estimate in found]))
    return mean, float(np.mean([estimate.low <= mean <= estimate.high for estimate in found]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1_000)
    parser.add_argument("--points", type=int, nargs="+", default=[20, 40, 100, 400])
    parser.add_argument("--clouds", nargs="+", choices=CLOUDS, default=list(CLOUDS))
    given = parser.parse_args()
    for name in given.clouds:
        for points in given.points:
            mean, share = coverage(CLOUDS[name], points, given.draws)
            print(f"{name}: {points} points, mean idim {mean:.3f}, covered in {100 * share:.1f} %", flush=True)


if __name__ == "__main__":
    main()
