"""Value and seconds of our TwoNN beside scikit-dimension and a plain brute force.

The points resemble mean-pooled sentence states: float32 in 384 columns whose deviations fall off as 1, 1/2, 1/3 ...,
around a mean that is larger than they are, a tenth of them closer to another point. The candidates take turns
(A B C A B C ...) after one unmeasured call each, so that a busy machine is busy for all of them; seconds are medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from gelora_cli.geometry.fit import fit
from gelora_cli.geometry.neighbours import nearest_two

Points = npt.NDArray[np.float32]
COLUMNS = 384


def main() -> None:
    arguments = parse()
    sizes = arguments.sizes or ([1000, 2000] if arguments.quick else [2000, 8551, 20_000])
    repeats = arguments.repeats or (1 if arguments.quick else 5)
    print(f"TwoNN, fit, 10 % discarded; d = {COLUMNS}, float32; medians of {repeats} after one unmeasured call")
    print(f"{'n':>7} {'':18} {'idim':>10} {'differs by':>10} {'seconds':>8} {'times ours':>10}")
    for n in sizes:
        report(n, measure(states(n, arguments.seed), repeats))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="n = 1,000 and 2,000, each timed once")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="N", help="numbers of points (2000 8551 20000)")
    parser.add_argument("--repeats", type=int, metavar="K", help="timed calls of each candidate (5)")
    parser.add_argument("--seed", type=int, default=0, help="of the points (%(default)s)")
    return parser.parse_args()


def states(n: int, seed: int) -> Points:
    """(n, 384)"""
    rng = np.random.default_rng(seed)
    deviations = 1 / np.arange(1, COLUMNS + 1)
    points = rng.standard_normal((n, COLUMNS)) * deviations
    near = rng.choice(n, n // 10, replace=False)
    points[near] = points[rng.permutation(near)] + 0.1 * rng.standard_normal((n // 10, COLUMNS)) * deviations
    return (points + 0.1 * rng.standard_normal(COLUMNS)).astype(np.float32)


def measure(points: Points, repeats: int) -> dict[str, tuple[float, float]]:
    """Name -> (idim, median seconds)."""
    candidates: dict[str, Callable[[Points], float]] = {
        "gelora": ours,
        "scikit-dimension": scikit_dimension,
        "brute force": brute_force,
    }
    values = {name: candidate(points) for name, candidate in candidates.items()}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, candidate in candidates.items():
            start = time.perf_counter()
            candidate(points)
            seconds[name].append(time.perf_counter() - start)
    return {name: (values[name], statistics.median(seconds[name])) for name in candidates}


def report(n: int, measured: dict[str, tuple[float, float]]) -> None:
    idim, seconds = measured["gelora"]
    for name, (value, median) in measured.items():
        print(f"{n:7} {name:18} {value:10.5f} {value / idim - 1:10.1e} {median:8.2f} {median / seconds:10.1f}")


def ours(points: Points) -> float:
    r1, r2 = nearest_two(points)
    return fit(r2 / r1)


def scikit_dimension(points: Points) -> float:
    from skdim.id import TwoNN

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(TwoNN().fit(points).dimension_)


def brute_force(points: Points) -> float:
    """All distances by a float64 product, 500 rows at a time, the three smallest of each by partition."""
    x = points.astype(np.float64)
    x -= x.mean(axis=0)
    squares = np.square(x).sum(axis=1)
    mu = []
    for start in range(0, len(x), 500):
        block = squares[start : start + 500, None] + squares - 2 * x[start : start + 500] @ x.T
        nearest = np.sort(np.partition(block, 2, axis=1)[:, :3], axis=1)
        mu.append(np.sqrt(nearest[:, 2] / nearest[:, 1]))
    return fit(np.concatenate(mu))


if __name__ == "__main__":
    main()
