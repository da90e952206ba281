"""How sure the difference of two methods is, over seeds and examples: a hierarchical bootstrap, and Holm's correction.

Letters: S seeds, n examples, G clusters of them, B resamples. The value of the task's metric is known for methods A and
B, for each seed on each resample of the examples. d_s(w) is their difference for seed s on resample w, and d_s that on
the data; d(w) and D are their means over the seeds.

**Resampling.** Examples are drawn with replacement, the same ones for both methods and all seeds; seeds are drawn as
pairs. It is the bootstrap of a crossed design (seeds by examples): Owen's pigeonhole bootstrap (Annals of Applied
Statistics 1, 2007), used on seeds and test examples by Sellam et al. (The MultiBERTs, ICLR 2022). Given the examples,
the mean and variance of all S^S draws of seeds are known exactly, d(w) and sum_s (d_s(w) - d(w))^2 / S^2, so only
examples are drawn at random. The variance of the resampled difference is then, with the three parts below, (1 - 1/S)
(seeds + both) + examples, up to n / (n - 1).

**Why not its percentiles.** With three seeds they are too narrow by (S - 1) / S and by a normal's tails, and they count
what seed and example do together up to three times (Owen; no bootstrap of such a design is exact: McCullagh, Bernoulli
6, 2000). Of 2,000 pairs of equal methods with 3, 5 or 10 seeds they called 0.2 to 16 % different at p < 0.05, a paired
t-test over seeds, for which the examples are all there is, 4 to 33 %, and this 0.7 to 5.1 % (at p < 0.005 up to 5.4,
13.5 and 0.65 %; `scripts/calibrate_significance.py`, on accuracy). So the parts of the variance are estimated one by
one, as in the analysis of variance:

    seeds    = var_s(d_s) / S                                   S - 1 degrees of freedom, sees seed and both
    examples = n / (n - 1) var_w(d(w))                          sees example and both
    both     = n / (n - 1) sum_s var_w(d_s(w) - d(w)) / (S (S - 1))

and D is compared with a normal of variance max(seeds, both) + max(examples - both, 0), in which `seeds`, a variance
known from S values only, is averaged over what it may be, seeds (S - 1) / chi2(S - 1): a generalised p-value (Tsui and
Weerahandi, JASA 84, 1989), of Behrens and Fisher's kind. Without variance from examples it is the paired t-test over
seeds; without variance from seeds it is a normal test. It is two-sided: p is the chance of a deviation of at least |D|
either way, and the interval holds the differences that would not be rejected. p is an integral and not a share of
resamples, so it has no steps of 1 / B (and needs no + 1), and can be small enough to survive a correction.

**Examples that belong together.** Questions of one article, or rows of one group, are right or wrong together. Where
one method suits an article, it wins on many of its questions, so n questions tell less than n independent ones. Of
1,000 pairs of equal methods, each of which finds other of 20 articles of 20 examples hard, the test above called 6 to
34 % different at p < 0.05 with three seeds, 16 to 60 % with ten; drawing articles 1.2 to 3.2 % and 3.8 to 5.4 %
(`scripts/calibrate_significance.py --articles 20`). So whole clusters are drawn, each with all of its examples (the
cluster bootstrap: Davison and Hinkley, Bootstrap Methods, 1997, section 3.8). n / (n - 1) becomes G / (G - 1), and
`examples`, now a variance known from G values only, is averaged over what it may be as `seeds` is, examples (G - 1) /
chi2(G - 1): without variance from seeds that is a t-test with G - 1 degrees of freedom. Of clusters of unequal sizes m,
G is an effective number, (sum m^2)^2 / sum m^4: what an article has in common adds a variance in proportion to m^2, and
the estimate of a sum of such variances is as uncertain as that of so many equal ones (Satterthwaite, Biometrics
Bulletin 2, 1946), so that few large articles do not pass for many. One cluster leaves nothing to draw, and no test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import optimize, special, stats

from gelora_cli.metrics.definitions import Array, Score, of_all
from gelora_cli.report.comparison import LEVEL

CHUNK = 1 << 16
"""How many weights of examples are in memory at once."""

TINY = 1e-12
"""Differences below this are rounding."""


@dataclass(frozen=True)
class Variances:
    """The three parts of a difference's variance; `both` is contained in the other two as well.

    Attributes:
        seeds: what the seeds contribute.
        examples: what the test examples contribute.
        both: what seed and example do together.
        count: the number of seeds (S); of a sum over tasks an effective number, one more than its degrees of freedom.
        clusters: the (effective) number of clusters that `examples` is known from; None for independent examples, of
            which there are enough to take their variance as known.
    """

    seeds: float
    examples: float
    both: float
    count: float
    clusters: float | None = None

    @property
    def none(self) -> bool:
        """Return whether neither seeds nor examples change the difference, but for rounding."""
        return self.seeds + self.examples < TINY**2

    @property
    def expected(self) -> float:
        """Return the variance of the difference as it was estimated, max(seeds, both) + max(examples - both, 0)."""
        return max(self.seeds, self.both) + max(self.examples - self.both, 0.0)

    def scaled(self, factor: float) -> Variances:
        """Return the parts of a difference that is multiplied by a factor, such as 100 for points."""
        square = factor**2
        return replace(self, seeds=square * self.seeds, examples=square * self.examples, both=square * self.both)

    def p_value(self, difference: float) -> float:
        """Return the two-sided p of a difference; 1 where it is 0, but for rounding."""
        if abs(difference) < TINY:
            return 1.0
        chances, variances = self._mixture
        return float(2 * (chances * special.ndtr(-abs(difference) / np.sqrt(variances))).sum())

    def half_width(self, level: float = LEVEL) -> float:
        """Return half of the interval of confidence 1 - level: the difference whose p is `level`."""
        if self.none:
            return 0.0
        high = math.sqrt(self.seeds + self.examples)  # doubled until it is outside: brentq needs a change of sign
        while self.p_value(high) > level:
            high *= 2
        return float(optimize.brentq(lambda width: self.p_value(width) - level, 0.0, high, xtol=1e-9 * high))

    @cached_property
    def _mixture(self) -> tuple[Array, Array]:
        """Return what the two parts may add up to, as chances, whose sum is 1, and variances: (k,) or (k, l)."""
        # Ends far apart: 3 seeds leave 2 degrees of freedom, whose chi2 has much of its mass near 0.
        ratio, chances = _chi2_over_freedom(self.count - 1, 1e-9, 60.0, 800)
        # What the seeds contribute contains `both`, so it can't be less, whatever the draw says.
        of_seeds = np.maximum(self.seeds / ratio, self.both)  # (k,)
        if self.clusters is None:
            return chances, of_seeds + max(self.examples - self.both, 0.0)
        freedom = max(self.clusters - 1, 1.0)
        low, high = stats.chi2.ppf(1e-12, freedom) / freedom, stats.chi2.isf(1e-12, freedom) / freedom
        cluster_ratio, cluster_chances = _chi2_over_freedom(freedom, low, high, 200)
        of_examples = np.maximum(self.examples / cluster_ratio - self.both, 0.0)  # (l,)
        return np.outer(chances, cluster_chances), of_seeds[:, None] + of_examples


def _chi2_over_freedom(freedom: float, low: float, high: float, steps: int) -> tuple[Array, Array]:
    """Return values (k,) of chi2(freedom) / freedom in steps of their logarithm, and their chances, whose sum is 1."""
    ratio = np.exp(np.linspace(math.log(low), math.log(high), steps))
    chances = ratio * stats.chi2.pdf(ratio * freedom, freedom)
    return ratio, chances / chances.sum()


def resample(
    score: Score, predicted: Array, true: Array, *, resamples: int, seed: int, clusters: Array | None = None
) -> tuple[Array, Array]:
    """Return a score of R runs on the data, (R,), and on resamples of the examples, the same for all runs, (B, R).

    Args:
        score: the metric.
        predicted: (R, n), as the score takes them.
        true: (n,), as the score takes them.
        resamples: their number B.
        seed: of the draws.
        clusters: (n,) numbers from 0 what is drawn together; without it each example is drawn by itself.
    """
    examples = len(true)
    units = examples if clusters is None else int(clusters.max()) + 1
    generator = np.random.default_rng(seed)
    step = max(16, CHUNK // examples)  # does not change the draws: the generator goes on where it was
    parts = []
    for start in range(0, resamples, step):
        weights = _weights(generator, min(step, resamples - start), units)  # (b, units)
        by_example = weights if clusters is None else weights[:, clusters]  # (b, n)
        parts.append(score(predicted, true, by_example))  # (b, R)
    return of_all(score, predicted, true), np.concatenate(parts)


def _weights(generator: np.random.Generator, resamples: int, units: int) -> Array:
    """Draw resamples; return how often each unit, an example or a cluster, is in each of them, (B, units)."""
    drawn = generator.integers(units, size=(resamples, units))
    drawn += units * np.arange(resamples)[:, None]  # numbers of their own for each resample, so that one count does
    counts = np.bincount(drawn.ravel(), minlength=resamples * units)
    return counts.reshape(resamples, units).astype(np.float64)


def effective_number(clusters: Array) -> float:
    """Return (sum m^2)^2 / sum m^4 of clusters (n,) of sizes m: their number if all are of one size, less if not."""
    squares = np.bincount(clusters).astype(np.float64) ** 2
    return float(squares.sum() ** 2 / (squares**2).sum())


def variances(plain: Array, resampled: Array, examples: int, clusters: Array | None = None) -> Variances:
    """Return the parts of the variance of a difference.

    Args:
        plain: (S,) the paired differences of S seeds on the data.
        resampled: (B, S) the same on the resamples.
        examples: how many examples there are (n).
        clusters: (n,) the clusters that were drawn; None where it was examples.
    """
    seeds = len(plain)
    means = resampled.mean(axis=1)  # (B,)
    units = examples if clusters is None else effective_number(clusters)
    unbiased = units / (units - 1) if units > 1 else 1.0
    interaction = (resampled - means[:, None]).var(axis=0)  # (S,), what remains of each seed beside the mean of all
    return Variances(
        seeds=float(plain.var(ddof=1)) / seeds,
        examples=unbiased * float(means.var()),
        both=unbiased * float(interaction.sum()) / (seeds * (seeds - 1)),
        count=seeds,
        clusters=None if clusters is None else units,
    )


def effect_size(differences: Array) -> float | None:
    """Return Hedges' g of paired differences (S,): their mean over their standard deviation, times J.

    It is None where the standard deviation is 0.
    J = Gamma(m / 2) / (sqrt(m / 2) Gamma((m - 1) / 2)), m = S - 1, takes out that few seeds make it too large: 0.56 for
    3 seeds, 0.80 for 5 (Hedges, Journal of Educational Statistics 6, 1981). In standard deviations between seeds.
    """
    freedom, spread = len(differences) - 1, float(differences.std(ddof=1))
    if spread < TINY:
        return None
    j = math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2)) / math.sqrt(freedom / 2)
    return j * float(differences.mean()) / spread


def holm(p_values: Array) -> Array:
    """Return Holm's p-values (m,): the k-th smallest of m times m - k + 1, at least the one before, at most 1.

    Those below 0.05 hold together with a chance of at most 5 % that any is false, however they depend on each other
    (Holm, Scandinavian Journal of Statistics 6, 1979).
    """
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(order), 0, -1)  # the smallest times m, the next times m - 1, ...
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def holm_of_tested(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's p-values over those that were tested; None where there was no test."""
    tested = [p for p in p_values if p is not None]
    corrected = iter(holm(np.array(tested, np.float64)).tolist())
    return [None if p is None else next(corrected) for p in p_values]
