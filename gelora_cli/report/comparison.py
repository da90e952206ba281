"""The comparison of two rows, and its verdict in plain words; no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gelora_cli.report.bootstrap import Variances

LEVEL = 0.05
"""A difference is shown where the corrected p is below this; intervals leave out as much."""

FEWEST_SEEDS = 3
"""With 2 seeds their variance has one degree of freedom, and a test over it shows next to nothing."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`first` against `second`, over the seeds that both have.

    Where there is no test, interval, effect size and p are None.

    Attributes:
        group: the group that both rows belong to.
        metric: in whose units the difference and its interval are.
        difference: the mean of first - second over the shared seeds; over all seeds of each, where they share none.
        low: the lower end of the 95 % interval of this one difference.
        high: the upper end.
        effect_size: Hedges' g over the seeds; None where all seeds differ by the same.
        p: the p-value of this one difference.
        p_corrected: Holm's over all tests of the report. It decides: below 0.05 a difference is shown, and then the
            interval leaves 0 out, too.
        seeds: how many seeds both have.
        collapsed_first: how many runs of `first` collapsed; they are in all of this.
        collapsed_second: how many of `second`.
        trials_first: how many trials are behind the settings of `first`; None where that is unknown.
        trials_second: behind those of `second`.
        groups: how many groups of examples are drawn, each as a whole; None where each example is drawn by itself.
        drawn: what is drawn, in words.
        verdict: what came of it, in words.
        variances: the parts of the difference's variance; None where there is no test.
    """

    group: str
    first: str
    second: str
    metric: str
    difference: float
    low: float | None = None
    high: float | None = None
    effect_size: float | None = None
    p: float | None = None
    p_corrected: float | None = None
    seeds: int
    collapsed_first: int
    collapsed_second: int
    trials_first: int | None = None
    trials_second: int | None = None
    groups: int | None = None
    drawn: str = ""
    verdict: str = ""
    variances: Variances | None = None

    @property
    def is_shown(self) -> bool:
        """Return whether the difference stands after the correction; unequal trials may still forbid a verdict."""
        return self.p_corrected is not None and self.p_corrected < LEVEL

    def swapped(self) -> Comparison:
        """Return the same comparison with `second` first."""
        return replace(
            self,
            first=self.second,
            second=self.first,
            difference=-self.difference,
            low=None if self.high is None else -self.high,
            high=None if self.low is None else -self.low,
            effect_size=None if self.effect_size is None else -self.effect_size,
            collapsed_first=self.collapsed_second,
            collapsed_second=self.collapsed_first,
            trials_first=self.trials_second,
            trials_second=self.trials_first,
        )


def verdict(pair: Comparison, tests: int, *, ignore_trials: bool = False) -> str:
    """Say in plain words what came of a comparison that is one of so many tests.

    Two methods whose settings were not searched alike are not comparable, unless `ignore_trials` says so: most of a
    difference may be that of the search (arXiv 2602.04998, 2601.22708).
    """
    if pair.seeds < FEWEST_SEEDS:
        seeds = "1 shared seed" if pair.seeds == 1 else f"{pair.seeds} shared seeds"
        return f"no verdict: {seeds}, {FEWEST_SEEDS} are needed"
    if pair.trials_first != pair.trials_second and not ignore_trials:
        return f"not comparable: {_describe_trials(pair)}"
    if pair.p is None or pair.p_corrected is None:
        reason = "every seed and example differs by the same, which leaves nothing to test with"
        if pair.groups == 1:
            reason = "all examples are of one group, which leaves nothing to draw"
        return f"no verdict: {reason}"
    if pair.p_corrected < LEVEL:
        return _describe_difference(pair)
    if pair.p < LEVEL:
        return f"no difference shown: {_describe_difference(pair)} alone, but not as one of {tests} tests"
    return "no difference shown"


def _describe_trials(pair: Comparison) -> str:
    """Say how many trials are behind the settings of both."""
    first = f"{trials_text(pair.trials_first)} behind {pair.first}"
    return f"{first} against {trials_text(pair.trials_second)} behind {pair.second}"


def trials_text(trials: int | None) -> str:
    """Return a number of trials in words."""
    if trials is None:
        return "an unknown number of trials"
    return "1 trial" if trials == 1 else f"{trials} trials"


def _describe_difference(pair: Comparison) -> str:
    """Say which one is better and by how much, with the interval turned to a positive difference."""
    # The caller has seen a p-value, which no comparison has without its interval.
    assert pair.low is not None and pair.high is not None
    better, worse, low, high = pair.first, pair.second, pair.low, pair.high
    if pair.difference <= 0:
        better, worse, low, high = pair.second, pair.first, -pair.high, -pair.low
    return f"{better} above {worse} by {abs(pair.difference):.4f} (95 % interval {low:.4f} to {high:.4f})"
