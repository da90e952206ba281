"""How often equal methods are called different over several tasks, and how often a difference is found.

Runs are simulated as `calibrate_significance.py` does, single examples of two equal methods by accuracy. A pool holds
many simulated tasks of one kind; a board is drawn from one pool (`alike`) or from several (`mixed`). On a board of
`one varies` the differences themselves are drawn, and one task's vary between seeds with 256 times the variance of the
others. Columns say how often equal methods are called different, at 5 % and at 0.5 %:

- `t over seeds`: a t-test over the means of each seed over the tasks, the custom of many papers;
- `own chi2`: `across_tasks.py` with each task's variance averaged over what it alone may be, as one task's test does;
- `gelora`: `across_tasks.py` as it is, by degrees of freedom.

`found` is the share of boards on which the difference is shown that `power.py` says is shown in 80 %. It takes about
three minutes of one core, and writes what it prints to results/calibration_tasks.json.

python -m scripts.calibrate_tasks [--simulations 2000] [--tasks 4] [--output FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import special, stats

from gelora_cli.core.files import json_text, write_atomic
from gelora_cli.metrics.definitions import Array, accuracy
from gelora_cli.report.across_tasks import joint_variances
from gelora_cli.report.bootstrap import Variances, resample, variances
from gelora_cli.report.power import detectable
from scripts.calibrate_significance import Setting, article_numbers, labels

TESTS = ("t over seeds", "own chi2", "gelora")
LEVELS = (0.05, 0.005)
KINDS = ((0, 0), (1, 0), (3, 0), (0, 1), (1, 1), (3, 1))
"""Sd of the seeds' quality, as a multiple of a run's chance, and of what one method alone finds hard."""
MIXED = ((0, 1), (1, 1), (3, 0), (3, 1))
EXAMPLES, RESAMPLES = 200, 500
POINTS = 512


@dataclass(frozen=True)
class SimulatedTask:
    """The paired differences of a simulated task, (S,), and the parts of the variance of their mean."""

    by_seed: Array
    parts: Variances


Board = Sequence[SimulatedTask]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was seen on boards of one kind; shares of all boards.

    Attributes:
        called_different: each test with its shares at the levels.
        detectable: the difference in points that is found with 80 %, as `power.py` says.
        found: the share of boards on which it was found.
    """

    board: str
    seeds: int
    boards: int
    called_different: dict[str, list[float]]
    detectable: float
    found: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--seeds", nargs="+", type=int, default=[3, 5, 10])
    parser.add_argument("--output", type=Path, default=Path("results/calibration_tasks.json"))
    given = parser.parse_args()
    titles = "".join(f"{name:>16}" for name in TESTS)
    print(f"{given.tasks} tasks; % called different at 5 % and at 0.5 %\n{'board':22} seeds{titles}  found, %")
    lines = []
    for seeds in given.seeds:
        for calibration in calibrate(seeds, given.tasks, given.simulations):
            rates = calibration.called_different.values()
            cells = "".join(f"{100 * shares[0]:10.1f}{100 * shares[1]:6.2f}" for shares in rates)
            print(f"{calibration.board:22} {seeds:5}{cells}  {100 * calibration.found:.0f}", flush=True)
            lines.append(asdict(calibration))
    settings = {"tasks": given.tasks, "simulations": given.simulations, "levels": LEVELS, "metric": "accuracy"}
    content = settings | {"examples": EXAMPLES, "resamples": RESAMPLES, "lines": lines}
    write_atomic(given.output, json_text(content).encode())


def calibrate(seeds: int, tasks: int, simulations: int) -> Iterator[Calibration]:
    """Yield what is seen on boards of tasks alike, of each kind, and on boards of several kinds."""
    articles = article_numbers(EXAMPLES, 0, uneven=False)
    pools = {kind: simulate(Setting(seeds, *kind, 0, articles), simulations) for kind in KINDS}
    for (seed, own), pool in pools.items():
        yield measure(f"alike, seed {seed}, own {own}", seeds, list(boards([pool] * tasks)))
    kinds = [pools[MIXED[number % len(MIXED)]] for number in range(tasks)]
    yield measure("mixed", seeds, list(boards(kinds)))
    yield measure("one varies", seeds, [draw_uneven(number, seeds, tasks) for number in range(simulations)])


def draw_uneven(number: int, seeds: int, tasks: int) -> list[SimulatedTask]:
    """Return tasks whose differences are drawn as normal ones, in points / 100; one varies more between seeds."""
    generator = np.random.default_rng([number, seeds])
    examples, both = 1e-4, 1e-4
    drawn = []
    for task in range(tasks):
        of_seeds = 256e-4 if task == 0 else 1e-4
        by_seed = examples**0.5 * generator.normal() + (of_seeds + both) ** 0.5 * generator.normal(size=seeds)
        parts = Variances(float(by_seed.var(ddof=1)) / seeds, examples + both / seeds, both / seeds, seeds)
        drawn.append(SimulatedTask(by_seed, parts))
    return drawn


def simulate(setting: Setting, count: int) -> list[SimulatedTask]:
    """Return so many tasks on which both methods are equal."""
    tasks = []
    for number in range(count):
        generator = np.random.default_rng([number, setting.seeds, int(setting.seed), int(setting.own)])
        predicted, true = labels(generator, setting, EXAMPLES)
        plain, resampled = resample(accuracy, predicted, true, resamples=RESAMPLES, seed=number)
        by_seed = plain[: setting.seeds] - plain[setting.seeds :]  # (S,)
        many = resampled[:, : setting.seeds] - resampled[:, setting.seeds :]  # (B, S)
        tasks.append(SimulatedTask(by_seed, variances(by_seed, many, EXAMPLES)))
    return tasks


def boards(pools: Sequence[Sequence[SimulatedTask]]) -> Iterator[Board]:
    """Yield boards of a task from each pool, as many as a pool has tasks; each task is in one board for each place."""
    count = len(pools[0])
    orders = [np.random.default_rng(place).permutation(count) for place in range(len(pools))]
    for number in range(count):
        yield [pool[order[number]] for pool, order in zip(pools, orders, strict=True)]


def measure(board: str, seeds: int, drawn: Sequence[Board]) -> Calibration:
    """Return how often each test calls equal methods different, and how often the detectable difference is found."""
    p_values = np.array([test_all(tasks) for tasks in drawn])  # (boards, tests)
    shares = {}
    for name, column in zip(TESTS, p_values.T, strict=True):
        shares[name] = [float((column < level).mean()) for level in LEVELS]
    typical = []
    for same_place in zip(*drawn, strict=True):  # the task at one place of every board
        typical.append(average_parts([task.parts for task in same_place]))
    effect = detectable(typical, seeds)
    found = [joint(tasks).p_value(mean_difference(tasks) + effect) < LEVELS[0] for tasks in drawn]
    return Calibration(
        board=board,
        seeds=seeds,
        boards=len(drawn),
        called_different=shares,
        detectable=100 * effect,
        found=float(np.mean(found)),
    )


def test_all(tasks: Board) -> tuple[float, float, float]:
    """Return the p-values in the order of `TESTS`."""
    by_seed = np.mean([task.by_seed for task in tasks], axis=0)  # (S,)
    over_seeds = float(stats.ttest_1samp(by_seed, 0).pvalue) if np.ptp(by_seed) > 1e-9 else 1.0
    difference = mean_difference(tasks)
    return over_seeds, own_chi2(tasks, difference), joint(tasks).p_value(difference)


def joint(tasks: Board) -> Variances:
    return joint_variances([task.parts for task in tasks])


def mean_difference(tasks: Board) -> float:
    return float(np.mean([task.by_seed for task in tasks]))


def own_chi2(tasks: Board, difference: float) -> float:
    """Return the p where each task's variance of seeds is averaged over its own chi2."""
    points = stats.qmc.Sobol(len(tasks), scramble=True, seed=0).random(POINTS)  # (POINTS, T)
    total = np.zeros(POINTS)
    for task, column in zip(tasks, points.T, strict=True):
        parts, freedom = task.parts, task.parts.count - 1
        of_seeds = parts.seeds * freedom / stats.chi2.ppf(np.clip(column, 1e-12, 1 - 1e-12), freedom)
        total += np.maximum(of_seeds, parts.both) + max(parts.examples - parts.both, 0.0)
    return float(2 * special.ndtr(-abs(difference) * len(tasks) / np.sqrt(total)).mean())


def average_parts(parts: Sequence[Variances]) -> Variances:
    """Return the mean of each part: what they are but for the scatter of their estimates."""
    return Variances(
        seeds=float(np.mean([part.seeds for part in parts])),
        examples=float(np.mean([part.examples for part in parts])),
        both=float(np.mean([part.both for part in parts])),
        count=parts[0].count,
    )


if __name__ == "__main__":
    main()
