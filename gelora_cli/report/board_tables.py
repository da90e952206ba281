"""A leaderboard as a table of text: few columns, as a paper has them; no torch."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gelora_cli.core.messages import teraflop
from gelora_cli.report.leaderboard import Board, Entry, points
from gelora_cli.report.row_counts import glue_note
from gelora_cli.report.rows import Row
from gelora_cli.report.tables import MARK, NONE, PLUS_MINUS, Table, number

DIGITS = 2
"""Decimals of points, 0 to 100."""


@dataclass(frozen=True)
class EntryColumn:
    """A column of one value for each entry: its title with the unit, and the text; None where it has no value."""

    title: str
    text: Callable[[Entry], str | None]


def _mean_of_tasks(value: Callable[[Row], float | None]) -> Callable[[Entry], float | None]:
    """Return the mean over the tasks of an entry of what a row costs; None where a row does not have it."""

    def of_entry(entry: Entry) -> float | None:
        values = [value(row) for row in entry.rows.values()]
        known = [one for one in values if one is not None]
        return statistics.mean(known) if len(known) == len(values) else None

    return of_entry


def _number(value: Callable[[Row], float | None], digits: int) -> Callable[[Entry], str | None]:
    return lambda entry: number(_mean_of_tasks(value)(entry), digits)


def _operations(value: Callable[[Row], float | None]) -> Callable[[Entry], str | None]:
    def of_entry(entry: Entry) -> str | None:
        operations = _mean_of_tasks(value)(entry)
        return None if operations is None else teraflop(operations)

    return of_entry


def _span(value: Callable[[Row], int]) -> Callable[[Entry], str | None]:
    """Return a count that tasks may differ in, as one number or from the least to the most."""

    def of_entry(entry: Entry) -> str:
        counts = sorted({value(row) for row in entry.rows.values()})
        return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"

    return of_entry


def _trials(entry: Entry) -> str | None:
    counts = [row.trials for row in entry.rows.values()]
    known = [count for count in counts if count is not None]
    return str(min(known)) if len(known) == len(counts) else None


def _average(entry: Entry) -> str | None:
    """Return the average with its spread and mark."""
    if entry.average is None:
        return None
    return _with_sd(entry.average, entry.sd) + (MARK if entry.not_shown_worse else "")


def _with_sd(mean: float, sd: float | None, digits: int = DIGITS) -> str:
    text = f"{mean:.{digits}f}"
    return text if sd is None else f"{text} {PLUS_MINUS} {sd:.{digits}f}"


COLUMNS: Mapping[str, EntryColumn] = {
    "parameters": EntryColumn("parameters", lambda entry: f"{entry.adapter_params:,}"),
    "average": EntryColumn("average", _average),
    "seeds": EntryColumn("seeds", _span(lambda row: len(row.runs))),
    "trials": EntryColumn("trials", _trials),
    "collapsed": EntryColumn("collapsed", lambda entry: str(sum(row.collapsed for row in entry.rows.values()))),
    "start": EntryColumn("before the first step, s", _number(lambda row: row.start_seconds, 1)),
    "training": EntryColumn("training, s", _number(lambda row: row.train_seconds, 1)),
    "memory": EntryColumn("peak memory, MB", _number(lambda row: row.peak_megabytes, 0)),
    "allocation_flops": EntryColumn(
        "allocation, TFLOP", _operations(lambda row: None if row.costs is None else row.costs.allocation_flops)
    ),
    "training_flops": EntryColumn(
        "training, TFLOP", _operations(lambda row: None if row.costs is None else row.costs.training_flops)
    ),
}
"""The columns of one value."""
TASK_COLUMNS = ("tasks", "means")
"""What stands for a column for each task: means with standard deviations, and without."""
COLUMN_NAMES = (*TASK_COLUMNS, *COLUMNS)
DEFAULT_COLUMNS = ("parameters", "tasks", "average", "seeds")


def board_tables(boards: Sequence[Board], columns: Sequence[str] = DEFAULT_COLUMNS) -> Iterator[Table]:
    """Return a table for each board, its best in bold and what is not shown to be worse marked.

    Args:
        boards: the leaderboards.
        columns: what stands beside the method, in this order: names of `COLUMN_NAMES`.
    """
    for board in boards:
        yield board_table(board, columns)


def board_table(board: Board, columns: Sequence[str] = DEFAULT_COLUMNS) -> Table:
    """Return the table of one board; the average of a single task is left out, and its mark stands at the task."""
    titles, texts = ["method"], [[display_entry(entry) for entry in board.entries]]
    bold: set[tuple[int, int]] = set()
    for name in columns:
        if name in TASK_COLUMNS:
            for task in board.tasks:
                best = board.best_on(task)
                bold |= {(line, len(titles)) for line, entry in enumerate(board.entries) if entry.name in best}
                titles.append(task)
                texts.append([_task_text(board, entry, task, with_sd=name == "tasks") for entry in board.entries])
        elif name != "average" or len(board.tasks) > 1:
            if name == "average":
                bold |= {(line, len(titles)) for line, entry in enumerate(board.entries) if entry.is_best}
            titles.append(COLUMNS[name].title)
            texts.append([COLUMNS[name].text(entry) or NONE for entry in board.entries])
    lines = tuple(zip(*texts, strict=True))
    return Table(board_caption(board, columns), tuple(titles), lines, bold=frozenset(bold))


def display_entry(entry: Entry) -> str:
    """Return the entry's name, marked where the budget does not bind it."""
    return f"{entry.name} (exempt)" if entry.exempt else entry.name


def board_caption(board: Board, columns: Sequence[str] = DEFAULT_COLUMNS) -> str:
    """Say what a board is of, what the numbers of its columns are, and what bold and mark mean."""
    has_average = "average" in columns and len(board.tasks) > 1
    has_tasks = any(name in TASK_COLUMNS for name in columns)
    if not (has_average or has_tasks):
        return f"{board.title}."
    means_alone = has_tasks and "tasks" not in columns
    values = "means" if means_alone else f"mean {PLUS_MINUS} standard deviation (n - 1)"
    text = f"{board.title}: {_metrics_by_task(board)}, in points, as {values} over seeds."
    if has_average:
        text += (
            " The average is that of the tasks' means, and its deviation that of the seeds' averages. A method that "
            "lacks a task has none."
        )
    if (has_average and board.best) or (has_tasks and any(map(board.best_on, board.tasks))):
        text += " Bold: the best under the budget."
    is_marked = has_average or len(board.tasks) == 1  # the mark stands at the average, or at the only task
    if is_marked and any(entry.not_shown_worse for entry in board.entries):
        over = "over these tasks" if has_average else "on this task"
        text += (
            f" {MARK}: not shown to be worse than the best {over} (its test corrected over all others), which is no "
            "proof that it is as good."
        )
    if is_marked and board.notes:
        text += f" Not tested: {'; '.join(board.notes)}."
    more = [f"{entry.name} has up to {entry.trained_params:,}" for entry in board.entries if entry.trains_more]
    if more and "parameters" in columns:
        text += f" Parameters are those that a method keeps; while training {', '.join(more)}."
    rows = [entry.rows[task] for task in board.tasks for entry in board.entries if task in entry.rows]
    return f"{text} {glue_note(rows)}".rstrip()


def _metrics_by_task(board: Board) -> str:
    """Return the metric of all tasks, or each metric with its tasks."""
    metrics: dict[str, list[str]] = {}
    for task in board.tasks:
        row = next(entry.rows[task] for entry in board.entries if task in entry.rows)
        unit = row.metric if row.points_factor is not None else f"{row.metric} (no points, so in no average)"
        metrics.setdefault(unit, []).append(task)
    if len(metrics) == 1:
        return next(iter(metrics))
    return "; ".join(f"{unit} of {', '.join(tasks)}" for unit, tasks in metrics.items())


def _task_text(board: Board, entry: Entry, task: str, *, with_sd: bool) -> str:
    """Return what an entry reached on a task, in points where the metric has them."""
    row = entry.rows.get(task)
    if row is None:
        return NONE
    mark = MARK if entry.not_shown_worse and len(board.tasks) == 1 else ""
    sd = row.sd if with_sd else None
    if row.points_factor is None:
        return _with_sd(row.mean, sd, row.digits) + mark
    return _with_sd(points(row) or 0.0, None if sd is None else row.points_factor * sd) + mark
