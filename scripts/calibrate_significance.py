"""How often two equal methods are called different: ours beside the bootstrap's percentiles and a t-test over seeds.

`gelora` draws examples one by one, `clusters` whole articles.

Both methods are drawn from one distribution, so every difference "shown" is a false one, and 5 % (0.5 %) are allowed.
An example is harder for all runs, or for the runs of one method (`own`); a seed is better or worse on all examples
(`seed`, as a multiple of what chance makes of a run on so many examples); an article is harder for the runs of one
method on all of its examples (`article`); the rest is chance of seed and example. Without `--articles` every example is
an article of its own, and there is no such part. `--uneven` makes half of the articles five times as large as the rest.
A line takes about 10 to 30 seconds for 1,000 simulations and is printed when it is done; `--seeds` and `--articles-sd`
pick lines, so that a long table can be made in parts.

python scripts/calibrate_significance.py [--simulations 2000] [--resamples 500] [--examples 200] [--metrics accuracy]
python scripts/calibrate_significance.py --examples 400 --articles 20 --metrics accuracy --seeds 3 5 10
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from gelora_cli.metrics.definitions import Array, Score, accuracy, matthews_correlation, pearson_spearman_mean
from gelora_cli.report.bootstrap import resample, variances

Simulated = tuple[Array, Array]
TESTS = ("percentiles", "t over seeds", "gelora", "clusters")


@dataclass(frozen=True)
class Setting:
    """Seeds; sd of their quality, as a multiple of a run's chance; sd of what one method alone finds hard.

    `own` is of single examples, `article` of whole articles; `articles` (n,) numbers each example's article.
    """

    seeds: int
    seed: float
    own: float
    article: float
    articles: Array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[3, 5, 10])
    parser.add_argument("--articles", type=int, default=0, help="number of articles; 0: each example by itself")
    parser.add_argument("--articles-sd", nargs="+", type=float, default=[0.0, 0.5, 1.0])
    parser.add_argument("--uneven", action="store_true")
    given = parser.parse_args()
    articles = article_numbers(given.examples, given.articles, uneven=given.uneven)
    print(
        f"{given.simulations} simulations, {given.examples} examples, {articles.max() + 1} articles, "
        f"{given.resamples} resamples; % called different"
    )
    print(f"{'metric':22} seeds  seed  own  article{''.join(f'{name:>16}' for name in TESTS)}     (at 5 %, at 0.5 %)")
    for name in given.metrics:
        for setting in settings(given, articles):
            rates = calibrate(*METRICS[name], setting, given)
            cells = "".join(f"{100 * row[0]:10.1f}{100 * row[1]:6.2f}" for row in rates)
            print(
                f"{name:22} {setting.seeds:5} {setting.seed:5} {setting.own:4} {setting.article:8}{cells}", flush=True
            )


def settings(given: argparse.Namespace, articles: Array) -> Iterator[Setting]:
    """Return all combinations; with articles, those where each example by itself is as hard for both methods."""
    for seeds in given.seeds:
        for seed in (0, 1, 3):
            if given.articles:
                yield from (Setting(seeds, seed, 0, article, articles) for article in given.articles_sd)
            else:
                yield from (Setting(seeds, seed, own, 0, articles) for own in (0, 1))


def article_numbers(examples: int, count: int, *, uneven: bool) -> Array:
    """Return the article of each example, (n,); every second one is five times as large if `uneven`."""
    if not count:
        return np.arange(examples)
    sizes = np.where(np.arange(count) % 2, 5, 1) if uneven else np.ones(count, int)
    ends = np.round(np.cumsum(sizes) / sizes.sum() * examples)
    return np.searchsorted(ends, np.arange(examples), side="right")


def calibrate(
    score: Score, draw: Callable[..., Simulated], setting: Setting, given: argparse.Namespace
) -> list[tuple[float, float]]:
    """Return the share of simulations with p below each level, for each test."""
    found = []
    for number in range(given.simulations):
        generator = np.random.default_rng([number, setting.seeds])
        predicted, true = draw(generator, setting, given.examples)
        found.append(p_values(generator, score, predicted, true, setting, given.resamples, number))
    p = np.array(found)  # (simulations, tests)
    return [(float((column < 0.05).mean()), float((column < 0.005).mean())) for column in p.T]


def p_values(
    generator: np.random.Generator,
    score: Score,
    predicted: Array,
    true: Array,
    setting: Setting,
    resamples: int,
    seed: int,
) -> tuple[float, float, float, float]:
    """Return p by a bootstrap's percentiles, by a paired t-test over seeds, and by ours without and with articles.

    The bootstrap is the hierarchical one. `predicted` is (2 S, n), its first half the first method's.
    """
    plain, resampled = resample(score, predicted, true, resamples=resamples, seed=seed)
    differences, many = (values[..., : setting.seeds] - values[..., setting.seeds :] for values in (plain, resampled))
    seeds = generator.integers(len(differences), size=many.shape)
    drawn = np.take_along_axis(many, seeds, axis=1).mean(axis=1)
    below, above = (drawn <= 0).sum() + 1, (drawn >= 0).sum() + 1
    percentiles = min(1.0, 2 * min(below, above) / (len(drawn) + 1))
    over_seeds = stats.ttest_1samp(differences, 0).pvalue if np.ptp(differences) else 1.0
    difference, examples = float(differences.mean()), len(true)
    independent = variances(differences, many, examples).p_value(difference)
    if len(np.unique(setting.articles)) == examples:
        return percentiles, float(over_seeds), independent, independent
    by_article = resample(score, predicted, true, resamples=resamples, seed=seed, clusters=setting.articles)[1]
    many = by_article[:, : setting.seeds] - by_article[:, setting.seeds :]
    clusters = variances(differences, many, examples, setting.articles).p_value(difference)
    return percentiles, float(over_seeds), independent, clusters


def latent(generator: np.random.Generator, setting: Setting, examples: int) -> tuple[Array, Array]:
    """Draw the quality of 2 S runs (2 S, 1), of deviation 1, and what they find hard (2 S, n)."""
    quality = generator.normal(size=(2 * setting.seeds, 1))
    common, own = generator.normal(size=(1, examples)), setting.own * generator.normal(size=(2, examples))
    if setting.article:
        own = own + setting.article * generator.normal(size=(2, int(setting.articles.max()) + 1))[:, setting.articles]
    hard = common + np.repeat(own, setting.seeds, axis=0)
    return quality, hard + generator.normal(size=(2 * setting.seeds, examples))


def labels(generator: np.random.Generator, setting: Setting, examples: int) -> Simulated:
    """Draw two classes, one of 30 %; about four of five are right."""
    quality, hard = latent(generator, setting, examples)
    true = (generator.random(examples) < 0.3).astype(int)
    scale = 1.3 * 1.5 * setting.seed / examples**0.5  # sd of a share of 0.8 is 0.4 / sqrt(n), its slope about 0.2
    right = hard < 1.3 + scale * quality
    return np.where(right, true, 1 - true), true


def numbers(generator: np.random.Generator, setting: Setting, examples: int) -> Simulated:
    """Draw a score from 0 to 5 and predictions of it."""
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
