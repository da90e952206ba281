"""Step 4 of a comparison: is the difference real? Every pair of rows of a group, over seeds and examples; no torch.

`compare_groups` is the entry point. How a pair is tested is in `bootstrap.py`; p-values are corrected over all pairs of
a report (Holm), and that decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.run_reader import RunFiles
from gelora_cli.metrics.definitions import Array
from gelora_cli.report.bootstrap import TINY, effect_size, holm_of_tested, resample, variances
from gelora_cli.report.comparison import FEWEST_SEEDS, Comparison, verdict
from gelora_cli.report.groups import RowGroup, display_name
from gelora_cli.report.predictions import Predictions, read_predictions


@dataclass(frozen=True)
class ComparedRow:
    """A method's finished runs by seed; methods of one `group` have all but the method and the seed in common.

    `trials` are behind its settings; None where that is unknown.
    """

    name: str
    group: str
    runs: Mapping[int, RunFiles]
    trials: int | None = None


def compare_groups(groups: Sequence[RowGroup], *, ignore_trials: bool = False) -> tuple[list[Comparison], list[str]]:
    """Compare every pair of rows of each group, corrected over all of them.

    Args:
        groups: the groups.
        ignore_trials: give a verdict also where unequal numbers of trials are behind the settings of two rows.

    Returns:
        The comparisons, and why a group can't be compared, such as a metric that has no test.
    """
    try:
        rows = [row for group in groups for row in _compared_rows(group)]
        return compare_rows(rows, ignore_trials=ignore_trials), []
    except GeloraError:  # of some group: the others are compared all the same
        problems = [_group_problem(group) for group in groups]
    comparable = [group for group, problem in zip(groups, problems, strict=True) if not problem]
    rows = [row for group in comparable for row in _compared_rows(group)]
    comparisons = compare_rows(rows, ignore_trials=ignore_trials)
    return comparisons, [problem for problem in problems if problem]


def _compared_rows(group: RowGroup) -> list[ComparedRow]:
    rows = []
    for row in group.rows:
        by_seed = {run.result.seed: run.files for run in row.runs}
        rows.append(ComparedRow(display_name(row), group.name, by_seed, row.trials))
    return rows


def _group_problem(group: RowGroup) -> str:
    """Return why the runs of this group alone can't be compared; empty where they can."""
    try:
        compare_rows(_compared_rows(group), resamples=1)
    except GeloraError as error:
        return f"{group.name}: {error}"
    return ""


def compare_rows(
    rows: Sequence[ComparedRow], *, resamples: int = 2000, seed: int = 0, ignore_trials: bool = False
) -> list[Comparison]:
    """Compare all pairs within each group, in the order of the rows, corrected over all of them.

    Examples are drawn from `seed`, the same in every group of as many examples. So no number depends on the order of
    the rows or on other groups, but for the correction.

    Args:
        rows: what is compared; rows without runs are left out.
        resamples: how often the examples are drawn (whole groups of them, such as articles, where a run's predictions
            name them).
        seed: of the draws.
        ignore_trials: give a verdict also where unequal numbers of trials are behind the settings of two rows.

    Raises:
        GeloraError: a method twice in a group, runs of other data or another metric in one, or a run that can't be
            read; all of them at once.
    """
    groups: dict[str, list[ComparedRow]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    problems = []
    for group, members in groups.items():
        counts = Counter(row.name for row in members)
        repeated = [(name, count) for name, count in counts.items() if count > 1]
        problems += [f"{group}: {name} comes {count} times; name each row once." for name, count in repeated]
    _raise_problems(problems)
    comparisons: list[Comparison] = []
    for group, members in groups.items():
        present = [row for row in members if row.runs]
        if present:
            scores = score_rows(group, present, resamples, seed)
            for first, second in combinations(present, 2):
                pair = _compare_pair(scores[first.name], scores[second.name])
                comparisons.append(replace(pair, trials_first=first.trials, trials_second=second.trials))
    # Over all groups: a reader of the report sees all of their tests.
    return correct(comparisons, ignore_trials=ignore_trials)


def _raise_problems(problems: Sequence[str]) -> None:
    if problems:
        raise GeloraError("\n".join(problems))


def correct(pairs: Sequence[Comparison], *, ignore_trials: bool = False) -> list[Comparison]:
    """Return the pairs with Holm's p-values over all of these that were tested, and with their verdicts.

    Of pairs that were corrected together with others, only these count now.
    """
    corrected = holm_of_tested([pair.p for pair in pairs])
    tests = len(corrected) - corrected.count(None)
    with_verdicts = []
    for pair, p_corrected in zip(pairs, corrected, strict=True):
        with_p = replace(pair, p_corrected=p_corrected)
        with_verdicts.append(replace(with_p, verdict=verdict(with_p, tests, ignore_trials=ignore_trials)))
    return with_verdicts


@dataclass(frozen=True, kw_only=True)
class RowScores:
    """A row's runs by seed: what each reached on the data and on the resamples.

    Attributes:
        examples: how many examples there are (n).
        clusters: (n,) the number of the group that each example belongs to; None where each is drawn by itself.
        drawn: what is drawn, in words.
        plain: the value on the data.
        resampled: the values on the resamples, (B,).
        collapsed: whether the run collapsed.
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


def score_rows(group: str, rows: Sequence[ComparedRow], resamples: int, seed: int) -> dict[str, RowScores]:
    """Return the scores of each row by its name.

    Runs are read in the order of names and seeds, so that floating-point sums don't depend on the order of the rows.
    """
    ordered = sorted(rows, key=lambda row: row.name)
    keys = [(row.name, number) for row in ordered for number in sorted(row.runs)]
    files = {(row.name, number): run for row in ordered for number, run in row.runs.items()}
    runs = {key: read_predictions(files[key]) for key in keys}
    _raise_problems(_find_mismatches(group, list(runs.values())))
    first = runs[keys[0]]
    predicted = np.stack([runs[key].predicted for key in keys])  # (runs, n)
    # Of any run that names groups: all are on the same data, and older versions wrote none.
    groups = next((run.groups for run in runs.values() if run.groups is not None), None)
    clusters = None if groups is None else np.unique(groups, return_inverse=True)[1]  # (n,)
    plain, resampled = resample(  # (runs,) and (B, runs)
        first.score, predicted, first.true, resamples=resamples, seed=seed, clusters=clusters
    )
    column = {key: number for number, key in enumerate(keys)}
    scores = {}
    for row in ordered:
        seeds = sorted(row.runs)
        scores[row.name] = RowScores(
            group=group,
            name=row.name,
            metric=first.metric[1],
            examples=len(first.ids),
            clusters=clusters,
            drawn=_describe_draw(first, clusters),
            plain={number: float(plain[column[row.name, number]]) for number in seeds},
            resampled={number: resampled[:, column[row.name, number]] for number in seeds},
            collapsed={number: runs[row.name, number].result.collapsed for number in seeds},
        )
    return scores


def _describe_draw(run: Predictions, clusters: Array | None) -> str:
    unit = "questions" if run.metric[0].startswith("squad") else "examples"
    if clusters is not None:
        groups = int(clusters.max()) + 1
        return f"{len(clusters):,} {unit} of {groups:,} group{'' if groups == 1 else 's'}, drawn as whole groups"
    reason = ""
    if unit == "questions":
        reason = ", since these predictions name no articles (written by an earlier version)"
    return f"{len(run.ids):,} {unit}, taken as independent{reason}"


def _find_mismatches(group: str, runs: Sequence[Predictions]) -> list[str]:
    """Return what keeps runs of a group from being compared with its first."""
    first, problems = runs[0], []
    with_groups = next((run for run in runs if run.groups is not None), None)
    for run in runs[1:]:
        if run.metric != first.metric:
            problems.append(f"{run.directory} reports {run.metric[1]}, {first.directory} {first.metric[1]}")
        elif run.ids != first.ids:
            count = len(set(run.ids) ^ set(first.ids))
            problems.append(f"{run.directory} and {first.directory} differ in {count} example ids")
        elif run.labels != first.labels:
            count = sum(label != other for label, other in zip(run.labels, first.labels, strict=True))
            problems.append(f"{run.directory} and {first.directory} differ in the labels of {count} examples")
        elif not np.array_equal(run.true, first.true):
            count = int((run.true != first.true).sum())
            problems.append(f"{run.directory} and {first.directory} count other tokens in {count} examples")
        elif with_groups is not None and run.groups not in (None, with_groups.groups):
            problems.append(f"{run.directory} and {with_groups.directory} differ in the groups of their examples")
    return [f"{group}: {problem}; only runs on the same data can be compared." for problem in problems]


def _compare_pair(first: RowScores, second: RowScores) -> Comparison:
    """Return the difference of two rows, with its test where they share enough seeds."""
    shared = sorted(first.plain.keys() & second.plain.keys())
    first_seeds, second_seeds = shared or sorted(first.plain), shared or sorted(second.plain)
    first_mean = np.mean([first.plain[seed] for seed in first_seeds])
    second_mean = np.mean([second.plain[seed] for seed in second_seeds])
    untested = Comparison(
        group=first.group,
        first=first.name,
        second=second.name,
        metric=first.metric,
        difference=float(first_mean - second_mean),
        seeds=len(shared),
        collapsed_first=sum(first.collapsed[seed] for seed in first_seeds),
        collapsed_second=sum(second.collapsed[seed] for seed in second_seeds),
        groups=None if first.clusters is None else int(first.clusters.max()) + 1,
        drawn=first.drawn,
    )
    if len(shared) < FEWEST_SEEDS or untested.groups == 1:
        return untested
    return _test_pair(untested, first, second, shared)


def _test_pair(pair: Comparison, first: RowScores, second: RowScores, seeds: Sequence[int]) -> Comparison:
    """Add interval, effect size and p, unless neither seeds nor examples change a difference."""
    plain = np.array([first.plain[seed] - second.plain[seed] for seed in seeds])  # (S,)
    resampled = np.stack([first.resampled[seed] - second.resampled[seed] for seed in seeds], axis=1)  # (B, S)
    parts = variances(plain, resampled, first.examples, first.clusters)
    if parts.none and abs(pair.difference) > TINY:  # a difference without any spread: no test can judge it
        return pair
    half_width = parts.half_width()
    return replace(
        pair,
        low=pair.difference - half_width,
        high=pair.difference + half_width,
        effect_size=effect_size(plain),
        p=parts.p_value(pair.difference),
        variances=parts,
    )
