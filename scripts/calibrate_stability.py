"""How often the verdict on a plan is wrong, on profiles whose growth is known (`gelora_cli/allocation/stability.py`).

    python -m scripts.calibrate_stability errors    # the jackknife's error of an idim beside the true one, 3 minutes
    python -m scripts.calibrate_stability plans     # verdicts on drawn idims, 5 minutes
    python -m scripts.calibrate_stability clouds    # verdicts on measured clouds of points, 3 minutes
    python -m scripts.calibrate_stability passes    # verdicts on blocks that run several times, half a minute

`errors` draws clouds. `plans` draws the idims of all layers with normal errors that go together in neighbouring layers
(correlation 0.95, as seen on real text), and ten replicates with the same covariance. `clouds` maps points of a latent
cube by smooth random functions into one cloud per layer, each of which uses as many latent coordinates as its true
dimension says, and measures them with TwoNN as a profile does. `passes` draws idims without growth as `plans` does, and
lets the 12 layers come from few blocks, whose growth is the largest over their passes.

For every draw a second, independent sample is planned as well. The truth of a setting comes from its pairs of samples:

- *flat*: no block grows more than another.
- *kept*: two samples agree in `STABLE_AGREEMENT` of the units or more, and more than either does with the uniform plan.
- *moves*: anything else.

False alarms are preferences claimed where the truth is flat, and verdicts other than stable where it is kept. A miss is
the verdict stable where it moves.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gelora_cli.allocation.growth import neighbour_excess
from gelora_cli.allocation.jackknife import inflate
from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.allocation.stability import NO_PREFERENCE, STABLE, STABLE_AGREEMENT, UNSTABLE, agreement
from gelora_cli.core.artifacts.model_map import BlockMap, LinearShape, ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile, LayerIdim, ProfileSettings
from gelora_cli.core.budget import parse_budget
from gelora_cli.geometry.fit import fit
from gelora_cli.geometry.gride import gride
from gelora_cli.geometry.mle import mle

Array = NDArray[np.float64]
Estimate = Callable[[Array], float]
"""Points (n, d) to their intrinsic dimension."""
TENTHS = 10
CORRELATION = 0.95
START = 5.0
"""The idim of layer 0."""


def growth_shapes(blocks: int) -> dict[str, Array]:
    """Return the true growth of each block, (blocks,), by the name of the pattern."""
    one, small, ramp = np.zeros(blocks), np.zeros(blocks), np.linspace(0, 1, blocks)
    one[blocks // 2], small[blocks // 2] = 2.0, 0.5
    generator = np.random.default_rng(blocks)
    some = generator.exponential(0.5, blocks) * (generator.random(blocks) < 0.5)
    up_and_down = np.where(np.arange(blocks) % 2 == 0, 0.6, -0.6)
    return {"flat": np.zeros(blocks), "one": one, "small": small, "ramp": ramp, "some": some, "up, down": up_and_down}


@dataclass(frozen=True)
class Drawn:
    """The verdicts of one setting's draws, and what pairs of samples say of it."""

    verdicts: Counter[str]
    common: float
    with_uniform: float
    predicted: float

    def truth(self, is_flat: bool) -> str:
        """Return `flat`, `kept` or `moves`."""
        if is_flat:
            return "flat"
        return "kept" if self.common >= STABLE_AGREEMENT and self.common > self.with_uniform else "moves"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=tuple(PARTS))
    parser.add_argument("--draws", type=int, default=100, help="of each setting")
    given = parser.parse_args()
    PARTS[given.part](given.draws)


# --- the jackknife's error ---


def print_errors(draws: int) -> None:
    """Print the jackknife's standard error over the true one, for TwoNN and GRIDE on clouds of known dimension."""
    clouds: dict[str, Callable[[np.random.Generator, int], Array]] = {
        "cube, 2": lambda generator, n: generator.random((n, 2)),
        "cube, 5": lambda generator, n: generator.random((n, 5)),
        "Gaussian, 5": lambda generator, n: generator.standard_normal((n, 5)),
        "Gaussian, 10": lambda generator, n: generator.standard_normal((n, 10)),
    }
    print("estimator  cloud         points   mean  true error  jackknife  ratio")
    estimates: dict[str, Estimate] = {
        "fit": twonn,
        "mle": lambda points: mle(ratios(points, 1), discard=0.1),
        "gride 2": lambda points: gride(ratios(points, 2), 2, 4),
        "gride 8": lambda points: gride(ratios(points, 8), 8, 16),
        "gride 32": lambda points: gride(ratios(points, 32), 32, 64),
    }
    for (name, estimate), cloud, n in itertools.product(estimates.items(), clouds, (200, 1000)):
        idims, errors = [], []
        for number in range(draws):
            generator = np.random.default_rng([n, number])
            idim, replicates = with_tenths(estimate, clouds[cloud](generator, n), generator.permutation(n) % TENTHS)
            idims.append(idim)
            errors.append(np.std(inflate(idim, list(replicates))))
        true, jackknife = np.std(idims, ddof=1), np.sqrt(np.mean(np.square(errors)))
        print(
            f"{name:10} {cloud:13} {n:6,} {np.mean(idims):6.2f} {true:11.3f} {jackknife:10.3f} {jackknife / true:6.2f}"
        )


def twonn(points: Array) -> float:
    """Return the estimate of points (n, d) by TwoNN, as a profile has it by default."""
    return fit(ratios(points, 1), discard=0.1)


def ratios(points: Array, n1: int) -> Array:
    """Return `r_{2 n1} / r_{n1}` of every point, (n,)."""
    distances, _ = cKDTree(points).query(points, k=2 * n1 + 1)  # (n, 2 n1 + 1), the point itself first
    return np.asarray(distances[:, 2 * n1] / distances[:, n1])


def with_tenths(estimate: Estimate, points: Array, tenth: NDArray[np.integer]) -> tuple[float, Array]:
    """Return the estimate of points (n, d), and those without each tenth of them, (10,)."""
    return estimate(points), np.array([estimate(points[tenth != k]) for k in range(TENTHS)])


# --- verdicts ---


def print_plans(draws: int) -> None:
    """Print the verdicts on drawn idims, and their errors by the truth."""
    print_head()
    total: dict[str, Counter[str]] = {}
    settings = itertools.product(("growth+1", "growth"), (6, 12, 24), (0.05, 0.2, 0.8))
    for rule, blocks, error in settings:
        for shape, growth in growth_shapes(blocks).items():
            idims = START + np.concatenate([[0.0], np.cumsum(growth)])
            generator = np.random.default_rng([blocks, round(1000 * error)])
            profiles = drawn_profiles(idims, error, generator)
            drawn = judge(profiles, rule, draws)
            print_line(f"{rule:8} {blocks:6} {shape:9} {error:6.2f}", drawn, shape == "flat", total)
    print_total(total)


def print_clouds(draws: int) -> None:
    """Print the verdicts on measured clouds."""
    print_head()
    total: dict[str, Counter[str]] = {}
    patterns = {"flat": (4,) * 7, "one": (3, 3, 3, 6, 6, 6, 6), "ramp": (2, 2, 3, 3, 4, 6, 8)}
    for rule, points, (shape, dimensions) in itertools.product(("growth+1", "growth"), (200, 800), patterns.items()):
        profiles = cloud_profiles(dimensions, points, np.random.default_rng(points))
        drawn = judge(profiles, rule, max(draws // 5, 2))
        print_line(f"{rule:8} {len(dimensions) - 1:6} {shape:9} {points:6,}", drawn, shape == "flat", total)
    print_total(total)


def print_passes(draws: int) -> None:
    """Print the verdicts on flat profiles of 12 layers whose blocks run as often as the first column says."""
    print_head()
    for sizes in ((1,) * 12, (6, 6), (3, 2, 3, 2, 2), (2, 1) * 4, (8, 4), (10, 2), (11, 1)):
        profiles = drawn_profiles(np.full(13, START), 0.2, np.random.default_rng(12))
        drawn = judge((with_passes(profile, sizes) for profile in profiles), "growth+1", draws)
        print_line(f"passes {' '.join(map(str, sizes)):24}", drawn, True, {})


def with_passes(profile: IdProfile, sizes: Sequence[int]) -> IdProfile:
    """Return the profile with blocks that produce so many layers each, one after the other."""
    blocks, first = [], 1
    for block, size in zip(profile.model_map.blocks, sizes, strict=False):
        blocks.append(replace(block, passes=tuple(range(first, first + size))))
        first += size
    return replace(profile, model_map=replace(profile.model_map, blocks=tuple(blocks)))


PARTS = {"errors": print_errors, "plans": print_plans, "clouds": print_clouds, "passes": print_passes}


def drawn_profiles(idims: Array, growth_error: float, generator: np.random.Generator) -> Iterator[IdProfile]:
    """Yield profiles whose growths have this standard error; `idims` (L + 1,) are the true ones."""
    error = growth_error / np.sqrt(2 * (1 - CORRELATION))
    empty = make_profile(np.zeros(len(idims)), np.zeros((TENTHS, len(idims))))
    while True:
        measured = idims + error * correlated(generator, 1, len(idims))[0]  # (L + 1,)
        deviations = error * correlated(generator, TENTHS, len(idims)) * np.sqrt(TENTHS / (TENTHS - 1))
        # As a real jackknife has them: three times too close, and too far by the excess of nearest neighbours.
        replicates = measured + deviations * neighbour_excess(empty) / np.sqrt(TENTHS - 1)
        yield make_profile(np.maximum(measured, 0.05), np.maximum(replicates, 0.05))


def correlated(generator: np.random.Generator, count: int, layers: int) -> Array:
    """Return normal errors, (count, layers), of variance 1 and correlation 0.95 between neighbouring layers."""
    errors = generator.standard_normal((count, layers))
    for layer in range(1, layers):
        errors[:, layer] = CORRELATION * errors[:, layer - 1] + np.sqrt(1 - CORRELATION**2) * errors[:, layer]
    return errors


def cloud_profiles(dimensions: tuple[int, ...], points: int, generator: np.random.Generator) -> Iterator[IdProfile]:
    """Yield profiles measured on clouds of these dimensions, one cloud per layer of the same latent points."""
    maps = np.random.default_rng(0)
    linear = [maps.standard_normal((dimension, 20)) for dimension in dimensions]
    waves = [maps.standard_normal((dimension, 20)) for dimension in dimensions]
    while True:
        latent, tenth = generator.random((points, max(dimensions))), generator.permutation(points) % TENTHS
        layers = []
        for dimension, straight, wave in zip(dimensions, linear, waves, strict=True):
            used = latent[:, :dimension]
            layers.append(with_tenths(twonn, used @ straight + 0.3 * np.sin(2 * used @ wave), tenth))
        measured = np.array([idim for idim, _ in layers])
        yield make_profile(measured, np.stack([replicates for _, replicates in layers], axis=1))


def judge(profiles: Iterator[IdProfile], rule: str, draws: int) -> Drawn:
    """Return the verdicts on so many profiles, and how their plans agree with those of as many others."""
    verdicts: Counter[str] = Counter()
    common, with_uniform, predicted = [], [], []
    for _ in range(draws):
        plan, other = planned(next(profiles), rule), planned(next(profiles), rule)
        stability = plan.stability
        if stability is None or stability.agreement is None:
            raise RuntimeError("a profile with ten replicates was not judged")
        verdicts[stability.verdict] += 1
        predicted.append(stability.agreement)
        common.append(agreement(plan.ranks, other.ranks))
        with_uniform.append(agreement(plan.ranks, plan.uniform_ranks))
    return Drawn(verdicts, float(np.mean(common)), float(np.mean(with_uniform)), float(np.mean(predicted)))


def planned(profile: IdProfile, rule: str) -> RankPlan:
    return plan_ranks(profile, parse_budget("rank:6"), rule=rule, on_deficit="shrink")


def make_profile(idims: Array, replicates: Array) -> IdProfile:
    """Return a profile with these idims (L + 1,) and replicates (10, L + 1), rounded as their noise allows."""
    layers = []
    for number, idim in enumerate(idims):
        jackknife = tuple(round(float(value), 4) for value in replicates[:, number])
        value = round(float(idim), 3)
        layers.append(LayerIdim(number, value, value, value, None, None, 0, 0, 0, False, None, jackknife))
    blocks = []
    for number in range(1, len(idims)):
        roles = ("query", "key", "value", "output")
        linears = tuple(LinearShape(f"block.{number}.{role}", role, 384, 384) for role in roles)
        blocks.append(BlockMap(number, f"block.{number}", linears))
    settings = ProfileSettings("mean", "fit", 0.1, 10_000, 128, 0)
    model_map = ModelMap("bert", tuple(blocks), (), 0, 22_713_216)
    return IdProfile("made", "", "made", "", settings, 0, 0, 0, 0, tuple(layers), model_map, 0.0)


# --- tables ---


def print_head() -> None:
    print("rule     blocks growth     noise | none unstable stable | two agree  uniform  said | truth")


def print_line(text: str, drawn: Drawn, is_flat: bool, total: dict[str, Counter[str]]) -> None:
    """Print a setting's line, and add its verdicts to those of its truth."""
    truth, count = drawn.truth(is_flat), sum(drawn.verdicts.values())
    total.setdefault(truth, Counter()).update(drawn.verdicts)
    shares = [drawn.verdicts[verdict] / count for verdict in (NO_PREFERENCE, UNSTABLE, STABLE)]
    numbers = f"{drawn.common:9.2f} {drawn.with_uniform:8.2f} {drawn.predicted:5.2f}"
    print(f"{text} | {shares[0]:4.2f} {shares[1]:8.2f} {shares[2]:6.2f} | {numbers} | {truth}", flush=True)


def print_total(total: dict[str, Counter[str]]) -> None:
    for truth, verdicts in total.items():
        count = sum(verdicts.values())
        shares = ", ".join(
            f"{verdict} {verdicts[verdict] / count:.3f}" for verdict in (NO_PREFERENCE, UNSTABLE, STABLE)
        )
        print(f"{truth}: {count:,} draws: {shares}")


if __name__ == "__main__":
    main()
