"""What runs say when they are compared: rows, groups, tests; tables, page and other writers read from it; no torch.

`analyse` is the entry point.
"""

from __future__ import annotations

from dataclasses import dataclass

from gelora_cli.report.comparison import Comparison
from gelora_cli.report.groups import RowGroup, group_rows
from gelora_cli.report.leaderboard import Board, make_boards
from gelora_cli.report.rows import Row, make_rows
from gelora_cli.report.runs import CollectedRuns


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """The runs of a report, compared.

    Attributes:
        rows: a row for each method and setting, over its seeds.
        groups: which rows may be compared with each other.
        comparisons: the tested pairs of every group, corrected over all of them.
        problems: why groups can't be compared, a line each.
        boards: methods over the tasks of each model, budget, modules and protocol.
        ignore_trials: whether verdicts are given whatever trials are behind the settings.
    """

    rows: tuple[Row, ...]
    groups: tuple[RowGroup, ...]
    comparisons: tuple[Comparison, ...]
    problems: tuple[str, ...]
    boards: tuple[Board, ...]
    ignore_trials: bool = False

    @property
    def leaderboards(self) -> tuple[Board, ...]:
        """Return the boards of several tasks; one of a single task says what its table of results does."""
        return tuple(board for board in self.boards if len(board.tasks) > 1)

    @property
    def has_unequal_trials(self) -> bool:
        """Return whether two rows that are compared differ in the trials behind their settings."""
        return any(pair.trials_first != pair.trials_second for pair in self.comparisons)


def analyse(collected: CollectedRuns, *, ignore_trials: bool = False) -> Analysis:
    """Group runs to rows, say which rows may be compared, and test their differences.

    Args:
        collected: the finished runs, and those that give no number, which the notes of their rows count.
        ignore_trials: give a verdict also where unequal numbers of trials are behind the settings of two rows.
    """
    from gelora_cli.report.significance import compare_groups  # scipy: not before all that is wrong has been said

    rows = make_rows(collected.runs, collected.unused)
    groups = group_rows(rows)
    comparisons, problems = compare_groups(groups, ignore_trials=ignore_trials)
    return Analysis(
        rows=tuple(rows),
        groups=tuple(groups),
        comparisons=tuple(comparisons),
        problems=tuple(problems),
        boards=tuple(make_boards(groups, comparisons, ignore_trials=ignore_trials)),
        ignore_trials=ignore_trials,
    )
