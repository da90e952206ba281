"""Step 5 of a comparison: the answers to questions, from the pairs that were tested; no torch.

`answer_questions` is the entry point; `contrast_across` and `correct_across` also serve the leaderboard. No run is read
again: each comparison holds the parts of its variance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gelora_cli.core.registries import METHODS
from gelora_cli.report.across_tasks import across_tasks
from gelora_cli.report.bootstrap import Variances, holm_of_tested
from gelora_cli.report.comparison import FEWEST_SEEDS, Comparison
from gelora_cli.report.groups import RowGroup, display_name, groups_by_board
from gelora_cli.report.questions import SAME_RUNS, AcrossTasks, Answer, Contrast, Question, across_verdict
from gelora_cli.report.rows import Row
from gelora_cli.report.settings import VARIANT
from gelora_cli.report.significance import correct


@dataclass(frozen=True, kw_only=True)
class ContrastResult:
    """A contrast over the tasks of one board.

    Attributes:
        comparisons: one for each task, `first` first, not corrected again.
        across: the same over the tasks; None where no task has both.
        problems: why it is not compared on a task, a sentence each.
    """

    comparisons: tuple[Comparison, ...]
    across: AcrossTasks | None
    problems: tuple[str, ...]


def answer_questions(
    questions: Sequence[Question],
    groups: Sequence[RowGroup],
    comparisons: Sequence[Comparison],
    *,
    ignore_trials: bool = False,
) -> list[Answer]:
    """Answer each question by its contrasts, corrected over those of the question alone.

    Args:
        questions: what is asked.
        groups: the rows that were compared.
        comparisons: the tested pairs of these groups, which must hold those of the contrasts.
        ignore_trials: give a verdict also where unequal numbers of trials are behind the settings of two rows.
    """
    return [_answer(question, groups, comparisons, ignore_trials) for question in questions]


def _answer(
    question: Question, groups: Sequence[RowGroup], comparisons: Sequence[Comparison], ignore_trials: bool
) -> Answer:
    asked = [group for group in groups if not question.tasks or group.key.task in question.tasks]
    results = []
    problems: dict[tuple[Contrast, str], tuple[str, ...]] = {}
    for board, members in groups_by_board(asked).items():
        for contrast in question.contrasts:
            result = contrast_across(contrast, members, comparisons, ignore_trials)
            results.append(result)
            if result.problems:
                problems[contrast, str(board)] = result.problems
    single = [pair for result in results for pair in result.comparisons]
    across = correct_across([result.across for result in results if result.across is not None])
    return Answer(
        question=question,
        comparisons=tuple(_correct_single(single, ignore_trials)),
        across=tuple(across),
        verdict=_join_verdicts(across),
        problems=problems,
    )


def contrast_across(
    contrast: Contrast, groups: Sequence[RowGroup], comparisons: Sequence[Comparison], ignore_trials: bool = False
) -> ContrastResult:
    """Compare two methods over the tasks of groups of one board.

    A task counts once. One on which a method has no row or several, or which has several groups, is left out and said.

    Args:
        contrast: the two methods, or rows by their names.
        groups: groups of one board, each of one task.
        comparisons: the tested pairs of these groups.
        ignore_trials: give a verdict also where unequal numbers of trials are behind the settings of two rows.
    """
    by_task: dict[str, list[RowGroup]] = {}
    for group in groups:
        by_task.setdefault(group.key.task, []).append(group)
    pairs: dict[str, Comparison] = {}
    factors: dict[str, float] = {}
    problems = []
    for task, members in by_task.items():
        pair = _find_pair(contrast, members, comparisons)
        factor = members[0].rows[0].points_factor
        if isinstance(pair, str):
            problems.append(f"{contrast.first} and {contrast.second} on {task} ({groups[0].board}): {pair}")
        elif factor is None:
            problems.append(f"{task} is in no mean over tasks: {pair.metric} has no scale from 0 to 100")
        else:
            pairs[task], factors[task] = pair, factor
    across = _test_across(contrast, groups[0], pairs, factors, ignore_trials) if pairs else None
    if across is not None:
        across = replace(across, same_ranks=_tasks_of_same_ranks(contrast, groups, pairs))
    return ContrastResult(comparisons=tuple(pairs.values()), across=across, problems=tuple(problems))


def _find_pair(contrast: Contrast, groups: Sequence[RowGroup], comparisons: Sequence[Comparison]) -> Comparison | str:
    """Return the comparison of a contrast on one task, or why there is none."""
    found = []
    for group in groups:
        first, second = group.find_row(contrast.first), group.find_row(contrast.second)
        if first is not None and second is not None:
            found.append((group, first, second))
    if not found:
        lacking = [name for name in contrast if not _is_in(name, groups)]
        return f"no row, or several, of {' and '.join(lacking or contrast)}; settings in a row's name tell rows apart"
    if len(found) > 1:
        return "several groups of other settings have both: " + "; ".join(group.name for group, _, _ in found)
    group, first, second = found[0]
    if first is second:
        return _same_runs(contrast, group, first)
    names = display_name(first), display_name(second)
    for pair in comparisons:
        if pair.group == group.name and {pair.first, pair.second} == set(names):
            return pair if pair.first == names[0] else pair.swapped()
    return "this pair was not tested"


def _is_in(name: str, groups: Sequence[RowGroup]) -> bool:
    """Return whether any of these groups has one row of this name."""
    return any(group.find_row(name) is not None for group in groups)


def _same_runs(contrast: Contrast, group: RowGroup, row: Row) -> Comparison:
    """Return the comparison of two names of one row, whose difference is 0 and stays 0 with any seed and example."""
    return Comparison(
        group=group.name,
        first=contrast.first,
        second=contrast.second,
        metric=row.metric,
        difference=0.0,
        low=0.0,
        high=0.0,
        seeds=len(row.runs),
        collapsed_first=row.collapsed,
        collapsed_second=row.collapsed,
        trials_first=row.trials,
        trials_second=row.trials,
        verdict=SAME_RUNS,
        variances=Variances(0.0, 0.0, 0.0, max(len(row.runs), FEWEST_SEEDS)),
    )


def _test_across(
    contrast: Contrast,
    group: RowGroup,
    pairs: dict[str, Comparison],
    factors: dict[str, float],
    ignore_trials: bool,
) -> AcrossTasks:
    """Return the test of the pairs of one contrast over their tasks; without one where a task has none."""
    differences = {task: factors[task] * pair.difference for task, pair in pairs.items()}
    parts = [pair.variances.scaled(factors[task]) for task, pair in pairs.items() if pair.variances is not None]
    reasons = {task: _why_untested(pair) for task, pair in pairs.items() if pair.variances is None}
    unequal = [task for task, pair in pairs.items() if pair.trials_first != pair.trials_second]
    untested = AcrossTasks(
        first=contrast.first,
        second=contrast.second,
        board=str(group.board),
        tasks=tuple(differences),
        differences=tuple(differences.values()),
        difference=sum(differences.values()) / len(differences),
        seeds=min(pair.seeds for pair in pairs.values()),
        most_seeds=max(pair.seeds for pair in pairs.values()),
        collapsed_first=sum(pair.collapsed_first for pair in pairs.values()),
        collapsed_second=sum(pair.collapsed_second for pair in pairs.values()),
    )
    if all(pair.verdict == SAME_RUNS for pair in pairs.values()):
        return replace(untested, problem=SAME_RUNS)
    if reasons:
        return replace(untested, problem=f"no verdict: {'; '.join(_join_reasons(reasons))}")
    tested = across_tasks(parts, differences)
    problem = tested.problem
    if unequal and not ignore_trials:
        problem = f"not comparable: other numbers of trials are behind {contrast.first} and {contrast.second} on "
        problem += ", ".join(unequal)
    return replace(untested, parts=tested.parts, low=tested.low, high=tested.high, p=tested.p, problem=problem)


def _join_reasons(reasons: Mapping[str, str]) -> list[str]:
    """Return each reason once, behind all of the tasks that it holds for."""
    tasks: dict[str, list[str]] = {}
    for task, reason in reasons.items():
        tasks.setdefault(reason, []).append(task)
    return [f"{', '.join(members)}: {reason}" for reason, members in tasks.items()]


def _tasks_of_same_ranks(contrast: Contrast, groups: Sequence[RowGroup], tasks: Iterable[str]) -> tuple[str, ...]:
    """Return on which tasks two rows have equal ranks with every seed, and differ in their settings alone."""
    same = []
    for group in groups:
        first, second = group.find_row(contrast.first), group.find_row(contrast.second)
        if group.key.task in tasks and first is not None and second is not None and _have_same_ranks(first, second):
            same.append(group.key.task)
    return tuple(dict.fromkeys(same))


def _have_same_ranks(first: Row, second: Row) -> bool:
    """Return whether two rows of one form of the update have equal ranks with each of the seeds that both have.

    Only methods that an allocator plans for are asked: another method may change its ranks, or start from others.
    """
    if not all(row.method in METHODS and METHODS.get(row.method).allocator for row in (first, second)):
        return False
    if dict(first.key.settings).get(VARIANT) != dict(second.key.settings).get(VARIANT):
        return False
    patterns = {run.result.seed: run.plan.rank_pattern for run in first.runs}
    shared = [run for run in second.runs if run.result.seed in patterns]
    return bool(shared) and all(run.plan.rank_pattern == patterns[run.result.seed] for run in shared)


def _why_untested(pair: Comparison) -> str:
    if pair.seeds < FEWEST_SEEDS:
        return f"{pair.seeds} shared seed{'' if pair.seeds == 1 else 's'}, {FEWEST_SEEDS} are needed"
    return "nothing to test with"


def correct_across(across: Sequence[AcrossTasks]) -> list[AcrossTasks]:
    """Return tests over tasks with Holm's p-values over all of them, and with their verdicts."""
    corrected = holm_of_tested([one.p for one in across])
    tests = len(corrected) - corrected.count(None)
    answered = []
    for one, p_corrected in zip(across, corrected, strict=True):
        with_p = replace(one, p_corrected=p_corrected)
        answered.append(replace(with_p, verdict=across_verdict(with_p, tests)))
    return answered


def _correct_single(pairs: Sequence[Comparison], ignore_trials: bool) -> list[Comparison]:
    """Return the comparisons on single tasks, corrected over them; two names of the same runs are no test."""
    corrected = iter(correct([pair for pair in pairs if pair.verdict != SAME_RUNS], ignore_trials=ignore_trials))
    return [pair if pair.verdict == SAME_RUNS else next(corrected) for pair in pairs]


def _join_verdicts(across: Sequence[AcrossTasks]) -> str:
    """Return the verdicts, a clause each, with the board of each where there are several."""
    if not across:
        return "no run answers it"
    several = len({one.board for one in across}) > 1
    return "; ".join(f"{one.verdict} ({one.board})" if several else one.verdict for one in across)
