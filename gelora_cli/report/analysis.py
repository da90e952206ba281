"""What runs say when they are compared: rows, groups, tests; tables, page and other writers read from it; no torch.

`analyse` is the entry point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gelora_cli.core.errors import GeloraError
from gelora_cli.report.comparison import Comparison
from gelora_cli.report.groups import RowGroup, display_name, group_rows
from gelora_cli.report.leaderboard import Board, make_boards
from gelora_cli.report.over_tasks import answer_over_tasks, power_over_tasks
from gelora_cli.report.questions import Answer
from gelora_cli.report.rows import Row, make_rows
from gelora_cli.report.runs import UNIFORM, CollectedRuns

if TYPE_CHECKING:
    from gelora_cli.report.power import Power


@dataclass(frozen=True, kw_only=True)
class PairTests:
    """Which pairs are tested, and when they get a verdict.

    Attributes:
        against: methods or names of rows. Only pairs with one of them are kept and corrected for; every pair without.
        ignore_trials: give a verdict also where unequal numbers of trials are behind the settings of two rows.
    """

    against: tuple[str, ...] = ()
    ignore_trials: bool = False


EVERY_PAIR = PairTests()


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """The runs of a report, compared.

    Attributes:
        rows: a row for each method and setting, over its seeds.
        groups: which rows may be compared with each other.
        comparisons: the tested pairs of every group, corrected over all of them.
        problems: why groups can't be compared, a line each.
        boards: methods over the tasks of each model, budget, modules and protocol.
        answers: whether methods differ over several tasks from uniform LoRA, or from those in `testing.against`.
        power: what these tests over tasks can show.
        testing: which pairs these are, and when they get a verdict.
    """

    rows: tuple[Row, ...]
    groups: tuple[RowGroup, ...]
    comparisons: tuple[Comparison, ...]
    problems: tuple[str, ...]
    boards: tuple[Board, ...]
    answers: tuple[Answer, ...] = ()
    power: tuple[Power, ...] = ()
    testing: PairTests = EVERY_PAIR

    @property
    def leaderboards(self) -> tuple[Board, ...]:
        """Return the boards of several tasks; one of a single task says what its table of results does."""
        return tuple(board for board in self.boards if len(board.tasks) > 1)

    @property
    def has_unequal_trials(self) -> bool:
        """Return whether two rows that are compared differ in the trials behind their settings."""
        return any(pair.trials_first != pair.trials_second for pair in self.comparisons)


def analyse(collected: CollectedRuns, testing: PairTests = EVERY_PAIR) -> Analysis:
    """Group runs to rows, say which rows may be compared, and test their differences.

    Args:
        collected: the finished runs, and those that give no number, which the notes of their rows count.
        testing: which pairs are tested, and when they get a verdict.

    Raises:
        GeloraError: no row is of a name in `testing.against`.
    """
    rows = make_rows(collected.runs, collected.unused)
    _check_names(testing.against, rows)
    from gelora_cli.report.significance import compare_groups, correct  # scipy: when all that is wrong has been said

    groups = group_rows(rows)
    comparisons, problems = compare_groups(groups, ignore_trials=testing.ignore_trials)
    # Before pairs are left out: boards test against the best of each, whichever it is.
    boards = make_boards(groups, comparisons, ignore_trials=testing.ignore_trials)
    answers = answer_over_tasks(
        boards,
        groups,
        comparisons,
        references=testing.against or (UNIFORM,),
        ignore_trials=testing.ignore_trials,
    )
    if testing.against:
        comparisons = correct(_pairs_with(testing.against, groups, comparisons), ignore_trials=testing.ignore_trials)
    return Analysis(
        rows=tuple(rows),
        groups=tuple(groups),
        comparisons=tuple(comparisons),
        problems=tuple(problems),
        boards=tuple(boards),
        answers=tuple(answers),
        power=tuple(power_over_tasks(answers)),
        testing=testing,
    )


def _check_names(names: Sequence[str], rows: Sequence[Row]) -> None:
    """Refuse names of no row.

    Raises:
        GeloraError: all of them at once, with the names that there are.
    """
    unknown = [name for name in names if not _is_known(name, rows)]
    if unknown:
        known = dict.fromkeys(name for row in rows for name in (row.method, *row.names))
        raise GeloraError(f"against={','.join(unknown)}: no row of this name; accepted: {', '.join(known)}")


def _is_known(name: str, rows: Sequence[Row]) -> bool:
    """Return whether a row has this name."""
    return any(row.is_of(name) for row in rows)


def _pairs_with(
    names: Sequence[str], groups: Sequence[RowGroup], comparisons: Sequence[Comparison]
) -> list[Comparison]:
    """Return the pairs of which one row is of these names."""
    chosen: set[tuple[str, str]] = set()
    for group in groups:
        for row in group.rows:
            if any(row.is_of(name) for name in names):
                chosen.add((group.name, display_name(row)))
    return [pair for pair in comparisons if chosen & {(pair.group, pair.first), (pair.group, pair.second)}]
