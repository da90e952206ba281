"""How often the 95 % interval of an estimate holds the estimator's expectation, on clouds of known dimension.

    python -m scripts.idim_coverage [--draws 1000] [--points 20 40 100 400]
    python -m scripts.idim_coverage --scales 1 4 16 64 --draws 300 --points 400 2000
    python -m scripts.idim_coverage --jackknife --draws 150 --points 400 1500

The expectation at a number of points is the mean of the estimates over all draws. Without `--scales` the estimate is
TwoNN (`estimate_idim`), with it GRIDE at each n1 (`scale_idim`). `--jackknife` compares the standard error of the
jackknife over tenths of the points with the true spread. The docstrings of these functions say what was seen.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gelora_cli.geometry.neighbours import find_neighbours
from gelora_cli.geometry.points import MEMORY_BYTES
from gelora_cli.geometry.scales import scale_idim
from gelora_cli.geometry.twonn import estimate_idim

CPU = torch.device("cpu")
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


def coverage(draw: Draw, points: int, draws: int) -> str:
    """Return the mean estimate, and the share of the draws whose interval holds it."""
    generator = np.random.default_rng([7, points])
    estimates = [estimate_idim(draw(generator, points)) for _ in range(draws)]
    return describe([(estimate.idim, estimate.low, estimate.high) for estimate in estimates])


def scale_coverage(draw: Draw, points: int, draws: int, scales: Sequence[int]) -> list[str]:
    """Return the same for GRIDE at each n1."""
    generator = np.random.default_rng([7, points])
    intervals: dict[int, list[tuple[float, float, float]]] = {n1: [] for n1 in scales}
    for _ in range(draws):
        neighbours = find_neighbours(draw(generator, points), MEMORY_BYTES, CPU, count=2 * max(scales))
        for n1 in scales:
            estimate = scale_idim(neighbours, n1)
            intervals[n1].append((estimate.idim, estimate.low, estimate.high))
    return [f"n1={n1}, {describe(intervals[n1])}" for n1 in scales]


def jackknife_error(draw: Draw, points: int, draws: int) -> str:
    """Return the root mean square of the jackknife's standard errors as a multiple of the true spread."""
    generator = np.random.default_rng([9, points])
    estimates = [estimate_idim(draw(generator, points)) for _ in range(draws)]
    spread = float(np.std([estimate.idim for estimate in estimates]))
    variances = [9 * float(np.var(estimate.jackknife)) for estimate in estimates]
    return f"true spread {spread:.4f}, the jackknife says {math.sqrt(np.mean(variances)) / spread:.2f} times that"


def describe(intervals: Sequence[tuple[float, float, float]]) -> str:
    """Return the mean of the estimates, their spread, and how many intervals hold the mean."""
    idims, lows, highs = np.array(intervals).T
    mean = float(idims.mean())
    share = float(np.mean((lows <= mean) & (mean <= highs)))
    return f"mean idim {mean:.3f}, spread {idims.std():.4f}, covered in {100 * share:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1_000)
    parser.add_argument("--points", type=int, nargs="+", default=[20, 40, 100, 400])
    parser.add_argument("--clouds", nargs="+", choices=CLOUDS, default=list(CLOUDS))
    parser.add_argument("--scales", type=int, nargs="+", default=[], metavar="N1")
    parser.add_argument("--jackknife", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.clouds:
        for points in arguments.points:
            if arguments.scales:
                lines = scale_coverage(CLOUDS[name], points, arguments.draws, arguments.scales)
            else:
                measure = jackknife_error if arguments.jackknife else coverage
                lines = [measure(CLOUDS[name], points, arguments.draws)]
            for line in lines:
                print(f"{name}: {points} points, {line}", flush=True)


if __name__ == "__main__":
    main()
