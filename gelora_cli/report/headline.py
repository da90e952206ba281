"""The headline of a report's page: what differs from uniform LoRA, in words; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gelora_cli.core.messages import join_texts
from gelora_cli.report.analysis import Analysis
from gelora_cli.report.comparison import Comparison
from gelora_cli.report.groups import display_name
from gelora_cli.report.leaderboard import Board
from gelora_cli.report.questions import AcrossTasks
from gelora_cli.report.runs import UNIFORM
from gelora_cli.report.tables import is_reference

MOST_NAMES = 4
"""Names that a headline lists; of more it says how many."""
LONGEST_NAMES = 60
"""Letters of the names of tasks, or of methods without an average, that it lists."""


@dataclass(frozen=True)
class _Test:
    """A test against uniform LoRA: the other side, by how much it is above, and whether that is shown.

    `problem` says why there is no verdict; it is empty where there is one.
    """

    name: str
    above: float
    is_shown: bool
    problem: str
    tasks: tuple[str, ...]


def headline(analysis: Analysis) -> str:
    """Say in a sentence or two what is shown to differ from uniform LoRA.

    The tests are those over several tasks, which were chosen before the numbers were seen; without them, those of
    single tasks.
    """
    tests = list(_tests_over_tasks(analysis)) or list(_tests_of_tasks(analysis))
    if not any(is_reference(row) for row in analysis.rows):
        return "There is no uniform LoRA to compare with here."
    sentences = [_describe(tests)]
    if len(analysis.leaderboards) == 1:
        (board,) = analysis.leaderboards
        best = board.best
        names = " and ".join(entry.name for entry in best[:MOST_NAMES])
        rest = f" and {len(best) - MOST_NAMES} more" if len(best) > MOST_NAMES else ""
        if best:
            sentences.append(f"The highest average is that of {names}{rest}, {best[0].average:.2f} points.")
        elif board.rivals:
            sentences.append(f"Over {len(board.tasks)} tasks {describe_alone(board)}")
    return " ".join(sentences)


def describe_alone(board: Board) -> str:
    """Say which is the only average of a board: without a rival it is not the highest of anything."""
    (alone,) = board.rivals
    bound = "of those that the budget binds " if any(entry.exempt for entry in board.entries) else ""
    lacking = [entry.name for entry in board.entries if entry.average is None]
    text = f"{bound}only {alone.name} has a value on every task, {alone.average:.2f} points on average"
    if lacking:
        names = ", ".join(lacking)
        if len(lacking) > 1 and len(names) > LONGEST_NAMES:
            names = f"{len(lacking)} others"
        text += f"; {names} {'lacks' if len(lacking) == 1 else 'lack'} a task"
    return f"{text}."


def _tests_over_tasks(analysis: Analysis) -> Iterator[_Test]:
    budgets = {board.title: board.key.budget for board in analysis.leaderboards}
    for answer in analysis.answers:
        for test in answer.across:
            if UNIFORM in (test.first, test.second):
                where = f" at {budgets[test.board]}" if len(budgets) > 1 and test.board in budgets else ""
                yield _test(test, test.second == UNIFORM, where, test.reason, test.tasks)


def _tests_of_tasks(analysis: Analysis) -> Iterator[_Test]:
    references = {display_name(row) for row in analysis.rows if is_reference(row)}
    tasks = {group.name: group.key.task for group in analysis.groups}
    for pair in analysis.comparisons:
        # Two learning rates of uniform LoRA are no question here.
        if (pair.first in references) != (pair.second in references):
            kind, _, reason = pair.verdict.partition(": ")
            problem = reason if kind in ("no verdict", "not comparable") else ""
            if kind == "not comparable":
                problem = "unequal numbers of trials are behind the settings"
            yield _test(pair, pair.second in references, "", problem, (tasks[pair.group],))


def _test(test: AcrossTasks | Comparison, is_second: bool, where: str, problem: str, tasks: tuple[str, ...]) -> _Test:
    """Return a test as seen from the side that is not uniform LoRA, which is `second` or else `first`."""
    name, above = (test.first, test.difference) if is_second else (test.second, -test.difference)
    return _Test(f"{name}{where}", above, test.is_shown and not problem, problem, tasks)


def _describe(tests: Sequence[_Test]) -> str:
    decided = [test for test in tests if not test.problem]
    if not decided:
        problems = [test.problem for test in tests]
        reason = max(dict.fromkeys(problems), key=problems.count) if problems else "no row can be compared with it"
        return f"No verdict yet on what differs from uniform LoRA: {reason}."
    count = "1 comparison" if len(decided) == 1 else f"{len(decided)} comparisons"
    where = _describe_tasks(decided)
    shown = [test for test in decided if test.is_shown]
    if not shown:
        return f"No method is shown to differ from uniform LoRA {where} ({count})."
    verb = "shows" if len(shown) == 1 else "show"
    return f"{len(shown)} of {count} with uniform LoRA {where} {verb} a difference. {' '.join(_sides(shown))}"


def _describe_tasks(tests: Sequence[_Test]) -> str:
    """Return over how many tasks each test is, or on which task or tasks they are where each is of one."""
    tasks = list(dict.fromkeys(task for test in tests for task in test.tasks))
    if any(len(test.tasks) > 1 for test in tests):
        return f"over {len(tasks)} tasks"
    names = ", ".join(tasks)
    if len(tasks) <= MOST_NAMES and len(names) <= LONGEST_NAMES:
        return f"on {names}"
    return f"on {len(tasks)} tasks, each by itself," if len(tasks) > 1 else "on this task"


def _sides(shown: Sequence[_Test]) -> Iterator[str]:
    """Say what is above uniform LoRA, and what is below it."""
    above = list(dict.fromkeys(test.name for test in shown if test.above > 0))
    below = list(dict.fromkeys(test.name for test in shown if test.above <= 0))
    for side, names in (("Above it", above), ("Below it", below)):
        if names:
            yield f"{side}: {join_texts(names, most=MOST_NAMES)}."
