"""A difference over several tasks: its test, from the parts of the variance on each of them; no torch.

Letters: T tasks; D_t is the mean difference of two methods on task t over S_t seeds, and s_t, e_t and b_t are the parts
of its variance, of seeds, examples and both (`bootstrap.py`). The difference over tasks counts each task once,

    D = mean_t D_t.

Runs of one seed on two tasks share neither data nor, but for the pretrained weights, a draw, so the D_t are independent
given these tasks, and the variance of D is that of a sum:

    V = T^-2 sum_t [max(s_t (S_t - 1) / chi2_t, b_t) + max(e_t - b_t, 0)],   chi2_t with S_t - 1 degrees of freedom,
    p = E[2 Phi(-|D| / sqrt(V))] over independent chi2_t.

That is the test of one task for a sum of several: a generalised p-value (Tsui and Weerahandi, JASA 84, 1989), in which
every variance that is known from few values only is averaged over what it may be. Where the examples of a task are
drawn as G clusters, e_t becomes e_t (G - 1) / chi2(G - 1), as it does on one task. With T = 1 it is the test of
`Variances.p_value`. The expectation is taken over 4,096 points of a scrambled Sobol sequence with a fixed seed, so
equal numbers give an equal p.

What it says holds for these tasks: another choice of tasks is no part of V. `ranking.py` has what can be said of tasks
as a sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import optimize, special, stats

from gelora_cli.metrics.definitions import Array
from gelora_cli.report.bootstrap import TINY, Variances
from gelora_cli.report.comparison import LEVEL
from gelora_cli.report.questions import AcrossTasks

POINTS = 4096
"""Points of the Sobol sequence: a power of 2, as its balance needs."""

NOTHING_TO_TEST = "no verdict: every seed and example differs by the same, which leaves nothing to test with"


@dataclass(frozen=True)
class JointVariance:
    """The variance of the mean of independent differences, by the parts of each, (T,)."""

    parts: tuple[Variances, ...]

    @property
    def none(self) -> bool:
        """Return whether neither seeds nor examples change any of the differences, but for rounding."""
        return all(part.none for part in self.parts)

    @property
    def expected(self) -> float:
        """Return the variance with each part as it was estimated: T^-2 sum_t [max(s_t, b_t) + max(e_t - b_t, 0)]."""
        of_tasks = [max(part.seeds, part.both) + max(part.examples - part.both, 0.0) for part in self.parts]
        return math.fsum(of_tasks) / len(self.parts) ** 2

    def p_value(self, difference: float) -> float:
        """Return the two-sided p of a mean difference; 1 where it is 0, but for rounding."""
        if abs(difference) < TINY:
            return 1.0
        return float(2 * special.ndtr(-abs(difference) / np.sqrt(self._draws)).mean())

    def half_width(self, level: float = LEVEL) -> float:
        """Return half of the interval of confidence 1 - level: the mean difference whose p is `level`."""
        if self.none:
            return 0.0
        high = math.sqrt(self.expected)  # doubled until it is outside: brentq needs a change of sign
        while self.p_value(high) > level:
            high *= 2
        return float(optimize.brentq(lambda width: self.p_value(width) - level, 0.0, high, xtol=1e-9 * high))

    @cached_property
    def _draws(self) -> Array:
        """Return what the variance may be, (POINTS,), each value as likely as the others."""
        freedoms = [float(part.count - 1) for part in self.parts]
        freedoms += [max(part.clusters - 1, 1.0) for part in self.parts if part.clusters is not None]
        uniform = stats.qmc.Sobol(len(freedoms), scramble=True, seed=0).random(POINTS)  # (POINTS, len(freedoms))
        uniform = np.clip(uniform, TINY, 1 - TINY)
        ratios = [stats.chi2.ppf(uniform[:, i], freedom) / freedom for i, freedom in enumerate(freedoms)]
        of_seeds, of_clusters = ratios[: len(self.parts)], iter(ratios[len(self.parts) :])
        total = np.zeros(POINTS)
        for part, ratio in zip(self.parts, of_seeds, strict=True):
            examples = part.examples / next(of_clusters) if part.clusters is not None else part.examples
            # What the seeds contribute contains `both`, so it can't be less, whatever the draw says.
            total += np.maximum(part.seeds / ratio, part.both) + np.maximum(examples - part.both, 0.0)
        return total / len(self.parts) ** 2


def across_tasks(parts: Sequence[Variances], differences: Mapping[str, float]) -> AcrossTasks:
    """Return the mean of differences over tasks with its interval and p.

    Args:
        parts: the parts of the variance on each task, in the order of the tasks.
        differences: each task with its difference, in points.

    Raises:
        ValueError: no task, or not one variance for each.
    """
    if not parts or len(parts) != len(differences):
        raise ValueError(f"{len(parts)} variances for {len(differences)} tasks; one for each is needed")
    joint = JointVariance(tuple(parts))
    mean = math.fsum(differences.values()) / len(differences)
    untested = AcrossTasks(
        tasks=tuple(differences),
        differences=tuple(differences.values()),
        parts=joint.parts,
        difference=mean,
        seeds=min(part.count for part in parts),
    )
    if joint.none and abs(mean) > TINY:
        return replace(untested, problem=NOTHING_TO_TEST)
    half_width = joint.half_width()
    return replace(untested, low=mean - half_width, high=mean + half_width, p=joint.p_value(mean))
