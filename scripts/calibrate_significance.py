"""How often two equal methods are called different: ours beside the bootstrap's percentiles and a t-test over seeds.

Both methods are drawn from one distribution, so every difference "shown" is a false one, and 5 % (0.5 %) are allowed.
An example is harder for all runs, or for the runs of one method (`own`); a seed is better or worse on all examples
(`seed`, as a multiple of what chance makes of a run on so many examples); the rest is chance of seed and example.

python scripts/calibrate_significance.py [--simulations 2000] [--resamples 500] [--examples 200] [--metrics accuracy]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from gelora_cli.report.bootstrap import resample, variances
from gelora_cli.scores import Array, Score, accuracy, matthews_correlation, pearson_spearman_mean

Simulated = tuple[Array, Array]


@dataclass(frozen=True)
class Setting:
    """Seeds; sd of their quality, as a multiple of a run's chance; sd of what one method alone finds hard."""

    seeds: int
    seed: float
    own: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=list(METRICS))
    given = parser.parse_args()
    print(
        f"{given.simulations} simulations, {given.examples} examples, {given.resamples} resamples; % called different"
    )
    heads = "".join(f"{name:>16}" for name in ("percentiles", "t over seeds", "gelora"))
    print(f"{'metric':22} seeds  seed  own{heads}     (at 5 %, at 0.5 %)")
    for name in given.metrics:
        for setting in (Setting(s, seed, own) for s in (3, 5, 10) for seed in (0, 1, 3) for own in (0, 1)):
            rates = calibrate(*METRICS[name], setting, given)
            cells = "".join(f"{100 * row[0]:10.1f}{100 * row[1]:6.2f}" for row in rates)
            print(f"{name:22} {setting.seeds:5} {setting.seed:5} {setting.own:4}{cells}", flush=True)


def calibrate(
    score: Score, draw: Callable[..., Simulated], setting: Setting, given: argparse.Namespace
) -> list[tuple[float, float]]:
    """Of each test the share of simulations with p below each level."""
    found = []
    for number in range(given.simulations):
        generator = np.random.default_rng([number, setting.seeds])
        predicted, true = draw(generator, setting, given.examples)
        plain, resampled = resample(score, predicted, true, resamples=given.resamples, seed=number)
        differences, many = (
            values[..., : setting.seeds] - values[..., setting.seeds :] for values in (plain, resampled)
        )
        found.append(p_values(generator, differences, many, given.examples))
    p = np.array(found)  # (simulations, tests)
    return [(float((column < 0.05).mean()), float((column < 0.005).mean())) for column in p.T]


def p_values(
    generator: np.random.Generator, differences: Array, many: Array, examples: int
) -> tuple[float, float, float]:
    """By the percentiles of the hierarchical bootstrap, by a paired t-test over seeds, and ours; (S,) and (B, S)."""
    seeds = generator.integers(len(differences), size=many.shape)
    drawn = np.take_along_axis(many, seeds, axis=1).mean(axis=1)
    below, above = (drawn <= 0).sum() + 1, (drawn >= 0).sum() + 1
    percentiles = min(1.0, 2 * min(below, above) / (len(drawn) + 1))
    over_seeds = stats.ttest_1samp(differences, 0).pvalue if np.ptp(differences) else 1.0
    ours = variances(differences, many, examples).p_value(float(differences.mean()))
    return percentiles, float(over_seeds), ours


def latent(generator: np.random.Generator, setting: Setting, examples: int) -> tuple[Array, Array]:
    """Of 2 S runs the quality (2 S, 1), deviation 1, and what they find hard (2 S, n)."""
    quality = generator.normal(size=(2 * setting.seeds, 1))
    common, own = generator.normal(size=(1, examples)), setting.own * generator.normal(size=(2, examples))
    hard = common + np.repeat(own, setting.seeds, axis=0)
    return quality, hard + generator.normal(size=(2 * setting.seeds, examples))


def labels(generator: np.random.Generator, setting: Setting, examples: int) -> Simulated:
    """Two classes, one of 30 %; about four of five are right."""
    quality, hard = latent(generator, setting, examples)
    true = (generator.random(examples) < 0.3).astype(int)
    scale = 1.3 * 1.5 * setting.seed / examples**0.5  # sd of a share of 0.8 is 0.4 / sqrt(n), its slope about 0.2
    right = hard < 1.3 + scale * quality
    return np.where(right, true, 1 - true), true


def numbers(generator: np.random.Generator, setting: Setting, examples: int) -> Simulated:
    """A score from 0 to 5 and predictions of it."""
    quality, hard = latent(generator, setting, examples)
    true = np.round(5 * generator.random(examples), 1)
    scale = 1.5 * setting.seed / examples**0.5
    return true * np.exp(scale * quality) + hard, true


METRICS: dict[str, tuple[Score, Callable[..., Simulated]]] = {
    "accuracy": (accuracy, labels),
    "matthews_correlation": (matthews_correlation, labels),
    "pearson_spearman_mean": (pearson_spearman_mean, numbers),
}


if __name__ == "__main__":
    main()
