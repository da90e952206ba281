"""Methods over several tasks: a board for each model, budget, modules and protocol; no torch.

`make_boards` is the entry point. Values are in points, 0 to 100, so that tasks of several metrics have one average.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gelora_cli.metrics.averages import TaskValues, average_over_tasks
from gelora_cli.report.comparison import Comparison
from gelora_cli.report.groups import BoardKey, RowGroup, groups_by_board, rows_by_name
from gelora_cli.report.questions import AcrossTasks, Contrast
from gelora_cli.report.rows import Row
from gelora_cli.report.runs import UNIFORM, RowKey

FEWEST_RIVALS = 2
"""Methods of which one can be called the best."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A method on the tasks of a board; one that a row shows as equal to GeLoRA has an entry of its own, too.

    Attributes:
        name: the method, with the settings in which rows of the method differ on one task.
        rows: its row on each task that it has.
        average: the mean over the tasks of its means, in points; None where it lacks a task, or a task has no points.
        sd: the standard deviation, over the seeds that it has on every task, of the averages of single seeds; None for
            fewer than two such seeds.
        is_best: whether it has the highest average of the entries that the budget binds, which are two at least.
        not_shown_worse: whether a test over the tasks, corrected over the others, does not show it to be worse than the
            best. The same data chose the best, so it says no more than that.
        against_best: that test; None for the best, and where the two can't be compared.
    """

    name: str
    rows: Mapping[str, Row]
    average: float | None = None
    sd: float | None = None
    is_best: bool = False
    not_shown_worse: bool = False
    against_best: AcrossTasks | None = None

    @property
    def exempt(self) -> bool:
        """Return whether the budget does not bind it."""
        return any(row.exempt for row in self.rows.values())

    @property
    def adapter_params(self) -> int:
        """Return the most parameters of its adapters on any task."""
        return max(row.adapter_params for row in self.rows.values())

    @property
    def trained_params(self) -> int:
        """Return the most parameters of its adapters at any step of training, on any task."""
        return max(row.trained_params for row in self.rows.values())

    @property
    def trains_more(self) -> bool:
        """Return whether it trains more parameters on the way than it keeps; False where no budget binds it."""
        return not self.exempt and self.trained_params > self.adapter_params

    @property
    def shared_seeds(self) -> list[int]:
        """Return the seeds that it has on every one of its tasks."""
        return sorted(set.intersection(*(row.seeds for row in self.rows.values())))


@dataclass(frozen=True, kw_only=True)
class Board:
    """Entries that may be compared over tasks: those with an average from best to worst, then those that lack a task.

    Attributes:
        key: what its rows have in common.
        tasks: the tasks, in the order of the rows.
        entries: the methods.
        notes: why tests are missing, a sentence each.
    """

    key: BoardKey
    tasks: tuple[str, ...]
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Return model, budget, modules and protocol in words."""
        return str(self.key)

    @property
    def best(self) -> tuple[Entry, ...]:
        """Return the entries with the highest average; none where fewer than two have one to compare."""
        return tuple(entry for entry in self.entries if entry.is_best)

    @property
    def rivals(self) -> tuple[Entry, ...]:
        """Return the entries whose averages are compared: those that the budget binds, or all where it binds none."""
        return tuple(_bound([entry for entry in self.entries if entry.average is not None]))

    @property
    def reference(self) -> Entry | None:
        """Return uniform LoRA; None where it is not there, or several times with other settings."""
        return next((entry for entry in self.entries if entry.name == UNIFORM), None)

    def has_all(self, names: Iterable[str]) -> bool:
        """Return whether there is an entry of each of these names."""
        return set(names) <= {entry.name for entry in self.entries}

    def best_on(self, task: str) -> set[str]:
        """Return who has the highest mean on a task, of those that the budget binds, or of all where it binds none.

        A method alone is not the best of anything: then there is none.
        """
        there = [entry for entry in self.entries if task in entry.rows]
        bound = [entry for entry in there if not entry.rows[task].exempt] or there
        if len(bound) < FEWEST_RIVALS:
            return set()
        highest = max((entry.rows[task].mean for entry in bound), default=math.nan)
        return {entry.name for entry in bound if math.isclose(entry.rows[task].mean, highest, rel_tol=1e-12)}


def make_boards(
    groups: Sequence[RowGroup], comparisons: Sequence[Comparison], *, ignore_trials: bool = False
) -> list[Board]:
    """Return a board for all groups of equal model, budget, modules and protocol, whatever their tasks.

    Args:
        groups: the rows that were compared.
        comparisons: the tested pairs of these groups; a test over tasks is made of their variances.
        ignore_trials: give a verdict also where unequal numbers of trials are behind the settings of two rows.
    """
    boards = []
    for key, members in groups_by_board(groups).items():
        tasks = tuple(dict.fromkeys(group.key.task for group in members))
        entries = [_with_average(entry, tasks) for entry in _entries(members)]
        board = Board(key=key, tasks=tasks, entries=tuple(sorted(_mark_best(entries), key=_order)))
        boards.append(_compare_with_best(board, members, comparisons, ignore_trials))
    return boards


def points(row: Row) -> float | None:
    """Return the mean of a row in points, 0 to 100; None for a metric without such a scale."""
    return None if row.points_factor is None else row.points_factor * row.mean


def _entries(groups: Sequence[RowGroup]) -> list[Entry]:
    """Return each name of a row with its rows by task."""
    by_name: dict[str, dict[str, Row]] = {}
    for task in dict.fromkeys(group.key.task for group in groups):
        # By their keys: a row without a budget may stand in several groups of a task.
        rows: dict[RowKey, Row] = {}
        for group in groups:
            if group.key.task == task:
                rows |= {row.key: row for row in group.rows}
        for name, row in rows_by_name(rows.values()).items():
            by_name.setdefault(name, {})[task] = row
    return [Entry(name=name, rows=rows) for name, rows in by_name.items()]


def _with_average(entry: Entry, tasks: Sequence[str]) -> Entry:
    """Add the average over tasks, and its spread over seeds, where the entry has every task in points."""
    rows = [entry.rows[task] for task in tasks if task in entry.rows]
    values = [TaskValues(row.value_by_seed, row.points_factor) for row in rows if row.points_factor is not None]
    if len(values) < len(tasks):
        return entry
    average = average_over_tasks(values)
    return replace(entry, average=average.points, sd=average.sd)


def _mark_best(entries: Sequence[Entry]) -> list[Entry]:
    """Mark the entries with the highest average; those without a budget only where there are no others.

    None is marked where it would have no rival.
    """
    bound = _bound([entry for entry in entries if entry.average is not None])
    if len(bound) < FEWEST_RIVALS:
        return list(entries)
    highest = max(entry.average for entry in bound if entry.average is not None)
    marked = []
    for entry in entries:
        # Equal but for rounding: a control may have the runs of GeLoRA.
        is_highest = entry.average is not None and math.isclose(entry.average, highest, rel_tol=1e-12)
        marked.append(replace(entry, is_best=is_highest and any(entry is other for other in bound)))
    return marked


def _bound(entries: Sequence[Entry]) -> list[Entry]:
    """Return those that the budget binds, or all where it binds none."""
    return [entry for entry in entries if not entry.exempt] or list(entries)


def _order(entry: Entry) -> tuple[bool, float]:
    """Return where an entry stands: from the highest average to the lowest, then those without one."""
    return (entry.average is None, -(entry.average or 0.0))


def _compare_with_best(
    board: Board, groups: Sequence[RowGroup], comparisons: Sequence[Comparison], ignore_trials: bool
) -> Board:
    """Test every entry with an average against the best over the tasks, corrected over all of these (Holm)."""
    from gelora_cli.report.answers import contrast_across, correct_across  # scipy

    if not board.best:
        return board
    best = board.best[0]
    others = [entry for entry in board.entries if entry.average is not None and not entry.is_best]
    tests: dict[str, AcrossTasks] = {}
    untested: list[str] = []
    for entry in others:
        result = contrast_across(Contrast(best.name, entry.name), groups, comparisons, ignore_trials)
        # Over fewer tasks it would be another question.
        if result.across is not None and result.across.tasks == board.tasks:
            tests[entry.name] = result.across
        else:
            untested += result.problems
    corrected = dict(zip(tests, correct_across(list(tests.values())), strict=True))
    entries = []
    for entry in board.entries:
        test = corrected.get(entry.name)
        is_tested = test is not None and not test.problem and test.p_corrected is not None
        is_worse = test is not None and test.is_shown and test.difference > 0
        entries.append(replace(entry, against_best=test, not_shown_worse=is_tested and not is_worse))
    untested += [test.reason for test in corrected.values() if test.problem]
    return replace(board, entries=tuple(entries), notes=tuple(dict.fromkeys(untested)))
