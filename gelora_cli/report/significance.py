"""Is the difference real?  Every pair of methods of a group, tested over seeds and examples; no torch.

How a pair is tested is in `bootstrap.py`; p-values are corrected over all pairs of a report (Holm), and that decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from gelora_cli.core.errors import GeloraError
from gelora_cli.metrics.definitions import Array
from gelora_cli.report.bootstrap import LEVEL, TINY, effect_size, holm, resample, variances
from gelora_cli.report.predictions import Predicted, read_predictions

FEWEST_SEEDS = 3


@dataclass(frozen=True)
class ComparedRow:
    """A method's finished runs by seed; methods of one `group` have all but the method and the seed in common."""

    name: str
    group: str
    runs: Mapping[int, Path]


@dataclass(frozen=True)
class Comparison:
    """`first` against `second`, over the `seeds` seeds that both have.

    `difference` is the mean of first - second over these seeds (of all seeds of each, if they share none), in units of
    `metric`; `low` and `high` bound the 95 % interval of this one difference. `p_corrected` is Holm's over all tests of
    the report, and decides: below 0.05 a difference is shown, and then the interval leaves 0 out, too. `effect_size`
    is Hedges' g over the seeds (None where all seeds differ by the same). Where there is no test they are None.
    `collapsed_first` and `collapsed_second` of the runs collapsed, and are in all of this. `groups` of the examples
    are drawn as a whole (None: each example by itself), and `drawn` says what is drawn in words.
    """

    group: str
    first: str
    second: str
    metric: str
    difference: float
    low: float | None
    high: float | None
    effect_size: float | None
    p: float | None
    p_corrected: float | None
    seeds: int
    collapsed_first: int
    collapsed_second: int
    verdict: str
    groups: int | None = None
    drawn: str = ""


def compare_rows(rows: Sequence[ComparedRow], *, resamples: int = 2000, seed: int = 0) -> list[Comparison]:
    """All pairs within each group, in the order of the rows, corrected over all of them; rows without runs have none.

    `resamples` of the examples (of whole groups of them, such as articles, where a run's predictions name them) are
    drawn from `seed`, the same in every group of as many examples: no number depends on the order of the rows or on
    other groups, but for the correction.

    Raises:
        GeloraError: a method twice in a group, runs of other data or another metric in one, or a run that can't be
            read; all of them at once.
    """
    groups: dict[str, list[ComparedRow]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    _refuse([problem for group, members in groups.items() for problem in _twice(group, members)])
    found = [pair for group, members in groups.items() for pair in _pairs(group, members, resamples, seed)]
    tested = [index for index, pair in enumerate(found) if pair.p is not None]
    corrected = holm(np.array([found[index].p for index in tested], np.float64))
    for index, p in zip(tested, corrected.tolist(), strict=True):
        found[index] = replace(found[index], p_corrected=p)
    return [replace(pair, verdict=_verdict(pair, len(tested))) for pair in found]


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise GeloraError("\n".join(problems))


def _twice(group: str, rows: Sequence[ComparedRow]) -> list[str]:
    counts = Counter(row.name for row in rows)
    return [f"{group}: {name} comes {count} times; name each row once." for name, count in counts.items() if count > 1]


def _pairs(group: str, rows: Sequence[ComparedRow], resamples: int, seed: int) -> Iterator[Comparison]:
    present = [row for row in rows if row.runs]
    values = _values(group, present, resamples, seed) if present else {}
    for first, second in combinations(present, 2):
        yield _comparison(values[first.name], values[second.name])


@dataclass(frozen=True)
class _Values:
    """A row's runs by seed: the value on the data and on the resamples (B,), and whether it collapsed.

    `clusters` (n,) number what is drawn together, None where each example is drawn by itself; `drawn` says it in words.
    """

    group: str
    name: str
    metric: str
    examples: int
    clusters: Array | None
    drawn: str
    plain: dict[int, float]
    resampled: dict[int, Array]
    collapsed: dict[int, bool]


def _values(group: str, rows: Sequence[ComparedRow], resamples: int, seed: int) -> dict[str, _Values]:
    """By name; runs are taken in the order of names and seeds, so that sums don't depend on the order of the rows."""
    ordered = sorted(rows, key=lambda row: row.name)
    keys = [(row.name, number) for row in ordered for number in sorted(row.runs)]
    paths = {(row.name, number): path for row in ordered for number, path in row.runs.items()}
    runs = {key: read_predictions(paths[key]) for key in keys}
    _refuse(_unlike(group, list(runs.values())))
    one = runs[keys[0]]
    together = np.stack([runs[key].predicted for key in keys])
    clusters = _clusters(list(runs.values()))
    plain, resampled = resample(one.score, together, one.true, resamples=resamples, seed=seed, clusters=clusters)
    drawn = _drawn(one, clusters)
    column = {key: number for number, key in enumerate(keys)}
    return {
        row.name: _Values(
            group,
            row.name,
            one.metric[1],
            len(one.ids),
            clusters,
            drawn,
            {number: float(plain[column[row.name, number]]) for number in sorted(row.runs)},
            {number: resampled[:, column[row.name, number]] for number in sorted(row.runs)},
            {number: runs[row.name, number].result.collapsed for number in sorted(row.runs)},
        )
        for row in ordered
    }


def _clusters(runs: Sequence[Predicted]) -> Array | None:
    """The groups of the examples by number, (n,), from any run that names them; the others are on the same data."""
    groups = next((run.groups for run in runs if run.groups is not None), None)
    return None if groups is None else np.unique(groups, return_inverse=True)[1]


def _drawn(run: Predicted, clusters: Array | None) -> str:
    unit = "questions" if run.metric[0].startswith("squad") else "examples"
    if clusters is not None:
        groups = int(clusters.max()) + 1
        return f"{len(clusters):,} {unit} of {groups:,} group{'' if groups == 1 else 's'}, drawn as whole groups"
    untold = ", since these predictions name no articles (written by an earlier version)"
    return f"{len(run.ids):,} {unit}, taken as independent{untold if unit == 'questions' else ''}"


def _unlike(group: str, runs: Sequence[Predicted]) -> list[str]:
    """What keeps runs of a group from being compared with its first."""
    first, problems = runs[0], []
    named = next((run for run in runs if run.groups is not None), None)
    for run in runs[1:]:
        if run.metric != first.metric:
            problems.append(f"{run.directory} reports {run.metric[1]}, {first.directory} {first.metric[1]}")
        elif run.ids != first.ids:
            odd = len(set(run.ids) ^ set(first.ids))
            problems.append(f"{run.directory} and {first.directory} differ in {odd} example ids")
        elif run.labels != first.labels:
            odd = sum(mine != other for mine, other in zip(run.labels, first.labels, strict=True))
            problems.append(f"{run.directory} and {first.directory} differ in the labels of {odd} examples")
        elif named is not None and run.groups not in (None, named.groups):
            problems.append(f"{run.directory} and {named.directory} differ in the groups of their examples")
    return [f"{group}: {problem}; only runs on the same data can be compared." for problem in problems]


def _comparison(first: _Values, second: _Values) -> Comparison:
    shared = sorted(first.plain.keys() & second.plain.keys())
    seeds = [shared or sorted(side.plain) for side in (first, second)]
    means = [np.mean([side.plain[seed] for seed in mine]) for side, mine in zip((first, second), seeds, strict=True)]
    collapsed = [sum(side.collapsed[seed] for seed in mine) for side, mine in zip((first, second), seeds, strict=True)]
    untested = Comparison(
        group=first.group,
        first=first.name,
        second=second.name,
        metric=first.metric,
        difference=float(means[0] - means[1]),
        low=None,
        high=None,
        effect_size=None,
        p=None,
        p_corrected=None,
        seeds=len(shared),
        collapsed_first=collapsed[0],
        collapsed_second=collapsed[1],
        verdict="",
        groups=None if first.clusters is None else int(first.clusters.max()) + 1,
        drawn=first.drawn,
    )
    return untested if len(shared) < FEWEST_SEEDS else _tested(untested, first, second, shared)


def _tested(pair: Comparison, first: _Values, second: _Values, seeds: Sequence[int]) -> Comparison:
    """With interval, effect size and p, unless neither seeds nor examples change a difference."""
    plain = np.array([first.plain[seed] - second.plain[seed] for seed in seeds])
    resampled = np.stack([first.resampled[seed] - second.resampled[seed] for seed in seeds], axis=1)
    if pair.groups == 1:
        return pair
    parts = variances(plain, resampled, first.examples, first.clusters)
    if parts.none and abs(pair.difference) > TINY:
        return pair
    half = parts.half_width()
    return replace(
        pair,
        low=pair.difference - half,
        high=pair.difference + half,
        effect_size=effect_size(plain),
        p=parts.p_value(pair.difference),
    )


def _verdict(pair: Comparison, tests: int) -> str:
    """In plain words."""
    if pair.seeds < FEWEST_SEEDS:
        seeds = "1 shared seed" if pair.seeds == 1 else f"{pair.seeds} shared seeds"
        return f"no verdict: {seeds}, {FEWEST_SEEDS} are needed"
    if pair.p is None or pair.p_corrected is None or pair.low is None or pair.high is None:
        if pair.groups == 1:
            return "no verdict: all examples are of one group, which leaves nothing to draw"
        return "no verdict: every seed and example differs by the same, which leaves nothing to test with"
    if pair.p_corrected < LEVEL:
        return _above(pair, pair.low, pair.high)
    if pair.p < LEVEL:
        return f"no difference shown: {_above(pair, pair.low, pair.high)} alone, but not as one of {tests} tests"
    return "no difference shown"


def _above(pair: Comparison, low: float, high: float) -> str:
    ends = (low, high) if pair.difference > 0 else (-high, -low)
    names = (pair.first, pair.second) if pair.difference > 0 else (pair.second, pair.first)
    return f"{names[0]} above {names[1]} by {abs(pair.difference):.4f} (95 % interval {ends[0]:.4f} to {ends[1]:.4f})"
