"""The hierarchical bootstrap against an example worked by hand, an enumeration, known tests, and two equal methods."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats

from gelora_cli.metrics.definitions import Score, accuracy, matthews_correlation, of_all, spearman
from gelora_cli.report.bootstrap import Variances, effect_size, effective_number, holm, resample, variances

Array = NDArray[Any]

# Three seeds (rows) and four examples: 1 where only A is right, -1 where only B is, 0 where both are or neither.
#
#   seed     examples        d_s
#   0      1   0   1   1     3/4
#   1      0   1  -1   1     1/4
#   2     -1   1  -1   0    -1/4
#   mean   0  2/3 -1/3 2/3   D = 1/4
#
# seeds    = (1/4 + 0 + 1/4) / 2 / 3                          = 1/12
# examples = (9 + 25 + 49 + 25) / 144 / 3 / 4                 = 1/16
# both     = sum of (d_si - d_s - d_i + D)^2 = 4, / (2 * 3) / (3 * 4) = 1/18
# and the variance over all 27 * 256 resamples is 2/3 (1/12 + 3/4 * 1/18) + 3/4 * 1/16 = 25/192.
WINS = np.array([[1, 0, 1, 1], [0, 1, -1, 1], [-1, 1, -1, 0]])
HAND = Variances(seeds=1 / 12, examples=1 / 16, both=1 / 18, count=3)


def differences(predicted: Array, true: Array, *, score: Score = accuracy, resamples: int = 2000) -> Variances:
    """Return the variances of two methods' runs, (2 S, n), the first half A's."""
    plain, resampled = resample(score, predicted, true, resamples=resamples, seed=0)
    half = len(predicted) // 2
    return variances(plain[:half] - plain[half:], resampled[:, :half] - resampled[:, half:], len(true))


def test_the_example_worked_by_hand() -> None:
    right = np.concatenate([WINS == 1, WINS == -1]).astype(int)
    found = differences(right, np.ones(4, int), resamples=200_000)
    assert found.seeds == pytest.approx(1 / 12)
    assert found.examples == pytest.approx(1 / 16, rel=0.02)
    assert found.both == pytest.approx(1 / 18, rel=0.02)


def test_its_parts_add_up_to_the_variance_of_every_resample() -> None:
    total, squares, count = Fraction(0), Fraction(0), 0
    for seeds in itertools.product(range(3), repeat=3):
        for examples in itertools.product(range(4), repeat=4):
            value = Fraction(int(WINS[np.ix_(seeds, examples)].sum()), 12)
            total, squares, count = total + value, squares + value**2, count + 1
    assert total / count == Fraction(1, 4)
    variance = squares / count - Fraction(1, 16)
    assert variance == Fraction(25, 192)
    assert float(variance) == pytest.approx(2 / 3 * (HAND.seeds + 3 / 4 * HAND.both) + 3 / 4 * HAND.examples)


def test_its_p_and_interval_are_the_integral() -> None:
    # With three seeds chi2(2) / 2 is an exponential variable q.

    def chance(difference: float) -> float:
        def given(q: float) -> float:
            variance = max(1 / 12 / q, 1 / 18) + 1 / 16 - 1 / 18
            return 2 * float(stats.norm.sf(difference / math.sqrt(variance))) * math.exp(-q)

        return float(integrate.quad(given, 0, 1.5)[0] + integrate.quad(given, 1.5, math.inf)[0])

    assert HAND.p_value(0.25) == pytest.approx(chance(0.25), abs=1e-5)
    assert HAND.p_value(-0.25) == HAND.p_value(0.25)
    assert chance(HAND.half_width()) == pytest.approx(0.05, abs=1e-5)


@pytest.mark.parametrize("count", [3, 5, 12])
def test_without_variance_from_examples_it_is_the_paired_t_test(count: int) -> None:
    values = np.random.default_rng(count).normal(0.8, 1, count)
    parts = Variances(seeds=float(values.var(ddof=1)) / count, examples=0.0, both=0.0, count=count)
    expected = stats.ttest_1samp(values, 0)
    assert parts.p_value(float(values.mean())) == pytest.approx(expected.pvalue, rel=1e-4)
    low, high = expected.confidence_interval(0.95)
    assert parts.half_width() == pytest.approx((high - low) / 2, rel=1e-4)
    assert parts.p_value(60 * math.sqrt(parts.seeds)) == pytest.approx(2 * stats.t.sf(60, count - 1), rel=1e-3)


def test_without_variance_from_seeds_it_is_the_normal_test() -> None:
    parts = Variances(seeds=0.0, examples=4.0, both=1.0, count=3)
    assert parts.p_value(3.0) == pytest.approx(2 * stats.norm.sf(1.5), rel=1e-6)
    assert parts.half_width() == pytest.approx(2 * stats.norm.ppf(0.975), rel=1e-6)


def test_no_difference_anywhere() -> None:
    found = differences(np.ones((6, 5), int), np.array([1, 1, 0, 1, 0]), resamples=50)
    assert found.none
    assert (found.p_value(0.0), found.p_value(1e-17), found.half_width()) == (1.0, 1.0, 0.0)


def test_errors_that_both_methods_make_narrow_the_interval() -> None:
    # The same right and wrong answers, of which B's fall on A's examples, or on others.
    generator = np.random.default_rng(2)
    right = (generator.normal(size=400) + 0.1 * generator.normal(size=(6, 400)) < 0.8).astype(int)
    moved = np.concatenate([right[:3], right[3:, generator.permutation(400)]])
    narrow, wide = (differences(side, np.ones(400, int)).half_width() for side in (right, moved))
    assert narrow < 0.6 * wide


def test_resamples_depend_on_the_seed_alone_and_not_on_their_number() -> None:
    predicted, true = np.random.default_rng(0).integers(0, 2, (4, 1000)), np.arange(1000) % 2
    first = resample(accuracy, predicted, true, resamples=600, seed=3)[1]
    again = resample(accuracy, predicted[::-1], true, resamples=700, seed=3)[1]
    other = resample(accuracy, predicted, true, resamples=600, seed=4)[1]
    assert np.array_equal(first, again[:600, ::-1])
    assert not np.array_equal(first, other)
    assert first.var(axis=0) == pytest.approx(np.full(4, 0.25 / 1000), rel=0.15)


def test_holm_on_a_published_kind_of_example() -> None:
    # 0.01 * 4, max(0.04, 0.02 * 3), max(0.06, 0.03 * 2), max(0.06, 0.04 * 1)
    assert holm(np.array([0.01, 0.04, 0.03, 0.02])) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm(np.array([0.5, 0.004])) == pytest.approx([0.5, 0.008])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).tolist() == []


def test_effect_size() -> None:
    # mean 2, sd 1, m = 2: J = 1 / sqrt(pi)
    assert effect_size(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / math.sqrt(math.pi))
    assert effect_size(np.array([1.0, 2.0, 3.0, 4.0, 5.0])) == pytest.approx(0.797885 * 3 / math.sqrt(2.5), rel=1e-5)
    assert effect_size(np.array([0.2, 0.2, 0.2])) is None


def equal_methods(generator: np.random.Generator, seeds: int, seed_sd: float, own: float) -> tuple[Array, Array]:
    """Return runs of two methods of one distribution, (2 S, 120), right where the sum is low."""
    hard = generator.normal(size=120) + np.repeat(own * generator.normal(size=(2, 120)), seeds, axis=0)
    quality = 0.8 + seed_sd * generator.normal(size=(2 * seeds, 1))
    true = generator.integers(0, 2, 120)
    right = hard + generator.normal(size=(2 * seeds, 120)) < quality
    return np.where(right, true, 1 - true), true


@pytest.mark.parametrize(("seeds", "seed_sd", "own"), [(3, 0.0, 0.0), (3, 0.4, 0.0), (3, 0.2, 1.0), (5, 0.4, 1.0)])
def test_equal_methods_are_called_different_in_at_most_5_percent(seeds: int, seed_sd: float, own: float) -> None:
    # Of 300 simulations at most 24, which 5 % pass once in 70 times; `scripts/calibrate_significance.py` has more.
    false = 0
    for number in range(300):
        predicted, true = equal_methods(np.random.default_rng([number, seeds]), seeds, seed_sd, own)
        plain, resampled = resample(accuracy, predicted, true, resamples=150, seed=number)
        pairs, many = plain[:seeds] - plain[seeds:], resampled[:, :seeds] - resampled[:, seeds:]
        false += variances(pairs, many, 120).p_value(float(pairs.mean())) < 0.05
    assert false <= 24


@pytest.mark.parametrize("score", [accuracy, matthews_correlation])
def test_a_clear_difference_is_found(score: Score) -> None:
    generator = np.random.default_rng(1)
    true = generator.integers(0, 2, 500)
    right = generator.random((6, 500)) < np.repeat([0.9, 0.75], 3)[:, None]
    predicted = np.where(right, true, 1 - true)
    plain = of_all(score, predicted, true)
    assert differences(predicted, true, score=score).p_value(plain[:3].mean() - plain[3:].mean()) < 0.01


def test_ranks_are_taken_anew_in_each_resample() -> None:
    generator = np.random.default_rng(4)
    true = generator.normal(size=60)
    predicted = true + generator.normal(size=(2, 60))
    plain, resampled = resample(spearman, predicted, true, resamples=40, seed=0)
    drawn = np.random.default_rng(0).integers(60, size=(40, 60))
    expected = [stats.spearmanr(predicted[0, rows], true[rows])[0] for rows in drawn]
    assert resampled[:, 0] == pytest.approx(expected)
    assert plain[0] == pytest.approx(stats.spearmanr(predicted[0], true)[0])


def test_whole_clusters_are_drawn() -> None:
    # Rows of which each cluster holds four equal ones tell as much as one row of each.
    generator = np.random.default_rng(5)
    predicted, true = generator.integers(0, 2, (6, 50)), generator.integers(0, 2, 50)
    clusters = np.repeat(np.arange(50), 4)
    single = resample(accuracy, predicted, true, resamples=300, seed=1)
    fourfold = resample(
        accuracy, np.repeat(predicted, 4, axis=1), np.repeat(true, 4), resamples=300, seed=1, clusters=clusters
    )
    for one, four in zip(single, fourfold, strict=True):
        assert four == pytest.approx(one, abs=1e-12)
    plain, drawn = (values[..., :3] - values[..., 3:] for values in fourfold)
    ours = variances(plain, drawn, 200, clusters)
    plain, drawn = (values[..., :3] - values[..., 3:] for values in single)
    theirs = variances(plain, drawn, 50)
    assert (ours.seeds, ours.examples, ours.both) == pytest.approx((theirs.seeds, theirs.examples, theirs.both))
    assert (ours.clusters, theirs.clusters) == (50, None)
    assert ours.half_width() > theirs.half_width()  # a t-test's tails


def test_clusters_of_unequal_sizes_count_for_fewer() -> None:
    assert effective_number(np.repeat(np.arange(7), 3)) == 7
    assert effective_number(np.array([0] * 3 + [1, 2])) == pytest.approx((9 + 1 + 1) ** 2 / (81 + 1 + 1))
    assert effective_number(np.array([0] * 97 + [1, 2, 3])) == pytest.approx(1, abs=1e-3)


def test_without_variance_from_seeds_clusters_give_a_t_test_over_them() -> None:
    parts = Variances(seeds=0.0, examples=4.0, both=0.0, count=3, clusters=12)
    assert parts.p_value(5.0) == pytest.approx(2 * stats.t.sf(2.5, 11), rel=1e-6)
    assert parts.p_value(16.0) == pytest.approx(2 * stats.t.sf(8, 11), rel=1e-4)
    assert parts.half_width() == pytest.approx(2 * stats.t.ppf(0.975, 11), rel=1e-6)
    many = Variances(seeds=1.0, examples=4.0, both=0.5, count=5, clusters=1e6)
    assert many.half_width() == pytest.approx(Variances(1.0, 4.0, 0.5, 5).half_width(), rel=1e-3)


def test_p_of_clusters_averages_over_both_parts() -> None:
    generator = np.random.default_rng(6)
    ratios = generator.chisquare(2, 400_000) / 2, generator.chisquare(9, 400_000) / 9
    variance = np.maximum(1.0 / ratios[0], 0.5) + np.maximum(2.0 / ratios[1] - 0.5, 0.0)
    expected = float(2 * stats.norm.sf(4.0 / np.sqrt(variance)).mean())
    parts = Variances(seeds=1.0, examples=2.0, both=0.5, count=3, clusters=10)
    assert parts.p_value(4.0) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("seeds", [3, 5])
def test_equal_methods_that_suit_other_articles_are_not_called_different(seeds: int) -> None:
    # 20 articles of 10 examples; of 200 simulations at most 17, which 5 % pass once in 40 times.
    articles = np.repeat(np.arange(20), 10)
    false, as_independent = 0, 0
    for number in range(200):
        generator = np.random.default_rng([number, seeds])
        suited = np.repeat(generator.normal(size=(2, 20))[:, articles], seeds, axis=0)
        right = (suited + generator.normal(size=(2 * seeds, 200)) < 0.8).astype(int)
        plain, drawn = resample(accuracy, right, np.ones(200, int), resamples=150, seed=number, clusters=articles)
        single = resample(accuracy, right, np.ones(200, int), resamples=150, seed=number)[1]
        pairs, of_articles, of_examples = (x[..., :seeds] - x[..., seeds:] for x in (plain, drawn, single))
        difference = float(pairs.mean())
        false += variances(pairs, of_articles, 200, articles).p_value(difference) < 0.05
        as_independent += variances(pairs, of_examples, 200).p_value(difference) < 0.05
    assert false <= 17
    assert as_independent > 30
