"""Tables of the page with what its filters ask of their lines; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gelora_cli.plots.report_rows import bound
from gelora_cli.report.analysis import Analysis
from gelora_cli.report.answer_tables import answer_table
from gelora_cli.report.board_tables import board_table
from gelora_cli.report.comparison import Comparison
from gelora_cli.report.groups import RowGroup, display_name
from gelora_cli.report.leaderboard import Board, Entry
from gelora_cli.report.rows import Row
from gelora_cli.report.tables import Table, comparison_tables, metric_tables, task_tables


@dataclass(frozen=True)
class Tags:
    """What a filter asks of a part of the page; where one is empty, no choice hides the part."""

    task: str = ""
    budget: str = ""
    methods: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaggedTable:
    """A table, the tags of all of it, and those of its lines and columns, which are one each or none."""

    table: Table
    tags: Tags = Tags()
    lines: tuple[Tags, ...] = ()
    columns: tuple[Tags, ...] = ()

    def tags_of(self, line: int) -> Tags:
        """Return the tags of a line by its number; empty ones where lines have none."""
        return self.lines[line] if self.lines else Tags()

    def tags_of_column(self, column: int) -> Tags:
        """Return the tags of a column by its number; empty ones where columns have none."""
        return self.columns[column] if self.columns else Tags()


@dataclass(frozen=True)
class Filters:
    """What can be chosen: a kind with a single choice has no filter."""

    tasks: tuple[str, ...]
    budgets: tuple[str, ...]
    methods: tuple[str, ...]


def filters_of(rows: Sequence[Row]) -> Filters:
    """Return the tasks, budgets and methods of these rows, each empty where there is one alone."""
    tasks = tuple(dict.fromkeys(row.task for row in rows))
    budgets = tuple(dict.fromkeys(row.budget for row in rows if not row.exempt))
    methods = tuple(dict.fromkeys(row.method for row in rows))
    several = [values if len(values) > 1 else () for values in (tasks, budgets, methods)]
    return Filters(*several)


def row_tags(row: Row) -> Tags:
    """Return the tags of a row; a budget that binds nothing is no reason to hide it."""
    return Tags(row.task, bound(row), (row.method,))


def tagged_boards(boards: Sequence[Board]) -> Iterator[TaggedTable]:
    """Return a table for each board, whose columns of tasks are hidden with their tasks."""
    for board in boards:
        table = board_table(board)
        lines = tuple(Tags(methods=methods_of(entry)) for entry in board.entries)
        columns = tuple(Tags(title if title in board.tasks else "") for title in table.titles)
        yield TaggedTable(table, Tags(budget=board.key.budget), lines, columns)


def methods_of(entry: Entry) -> tuple[str, ...]:
    """Return the methods of an entry's rows: GeLoRA's, where its plan is that of a control."""
    return tuple(dict.fromkeys(row.method for row in entry.rows.values()))


def tagged_answers(analysis: Analysis) -> Iterator[TaggedTable]:
    """Return a table for each question over several tasks and each board that answers it."""
    for answer in analysis.answers:
        for board in analysis.leaderboards:
            table = answer_table(answer, board.title, analysis.power)
            methods = {entry.name: methods_of(entry) for entry in board.entries}
            lines = [Tags(methods=(*methods[line[0]], *methods[line[1]])) for line in table.lines]
            if lines:
                yield TaggedTable(table, Tags(budget=board.key.budget), tuple(lines))


def tagged_results(rows: Sequence[Row]) -> Iterator[TaggedTable]:
    """Return a table for each task, model and metric of one protocol."""
    for key in dict.fromkeys((row.task, row.model, row.metric) for row in rows):
        members = [row for row in rows if (row.task, row.model, row.metric) == key]
        for table in task_tables(members):
            yield TaggedTable(table, Tags(key[0]), tuple(row_tags(row) for row in members))


def tagged_metrics(rows: Sequence[Row]) -> Iterator[TaggedTable]:
    """Return the tables of all metrics; the lines of a table of single labels are labels, which no filter hides."""
    for key in dict.fromkeys((row.task, row.model, row.protocol) for row in rows):
        members = [row for row in rows if (row.task, row.model, row.protocol) == key]
        for table in metric_tables(members):
            lines = tuple(row_tags(row) for row in members) if table.titles[0] == "method" else ()
            yield TaggedTable(table, Tags(key[0]), lines)


def tagged_comparisons(groups: Sequence[RowGroup], comparisons: Sequence[Comparison]) -> Iterator[TaggedTable]:
    """Return a table of tested pairs for each group that has any."""
    for group in groups:
        methods = {display_name(row): row.method for row in group.rows}
        first = group.rows[0]
        for table in comparison_tables([group], comparisons):
            lines = []
            for line in table.lines:
                lines.append(Tags(methods=(methods[line[0]], methods[line[1]])))
            yield TaggedTable(table, Tags(first.task, bound(first)), tuple(lines))
