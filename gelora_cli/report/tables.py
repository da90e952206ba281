"""Step 5 of a comparison: rows and comparisons as tables of text, in whatever format they are shown; no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev

from gelora_cli.core.messages import teraflop
from gelora_cli.report.comparison import Comparison
from gelora_cli.report.groups import RowGroup, display_name
from gelora_cli.report.row_costs import RowCosts
from gelora_cli.report.row_counts import glue_note
from gelora_cli.report.rows import Row
from gelora_cli.report.runs import UNIFORM

NONE = "-"
"""The text of a cell that has no value."""

PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
MARK = "\N{DAGGER}"
"""Behind a value that is not shown to be worse than the best."""
NUMBER = re.compile(rf"[-+]?[\d,]+(\.\d+)?( {PLUS_MINUS} [\d.]+)?{MARK}?|-|not recorded")

PROTOCOLS = {
    "last": "the weights after the last step, without any selection",
    "dev": "the best epoch on the reported split itself, as in published tables, which is optimistic",
}
"""How an epoch is selected; other protocols say it in each run."""


NOT_RECORDED = "not recorded"
"""The text of a cost of a run that is older than its record."""


@dataclass(frozen=True)
class Column:
    """A column: its title with the unit, a row's text in it, and what stands where that is None."""

    title: str
    text: Callable[[Row], str | None]
    missing: str = NONE

    def has_values(self, rows: Sequence[Row]) -> bool:
        """Return whether any of these rows has a value in it."""
        return any(self.text(row) not in (None, NONE) for row in rows)


def number(value: float | None, digits: int) -> str | None:
    """Return a number with so many decimals; None stays None."""
    return None if value is None else f"{value:.{digits}f}"


def cost(text: Callable[[RowCosts], str | None]) -> Callable[[Row], str | None]:
    """Return a column's text from the costs of a row; None where they are not recorded."""

    def of_row(row: Row) -> str | None:
        return None if row.costs is None else text(row.costs)

    return of_row


def allocation(costs: RowCosts) -> str | None:
    """Return the operations before the first step in units of 10^12; None where they were not recorded."""
    return None if costs.allocation_flops is None else teraflop(costs.allocation_flops)


def largest_rank(costs: RowCosts) -> str:
    """Return the largest rank, or that there is none."""
    return NONE if costs.largest_rank is None else str(costs.largest_rank)


COLUMNS = (
    Column("task", lambda row: row.task),
    Column("model", lambda row: row.model),
    Column("method", lambda row: row.name),
    Column("budget", lambda row: row.budget),
    Column("metric", lambda row: row.metric),
    Column("mean", lambda row: number(row.mean, row.digits)),
    Column("sd", lambda row: number(row.sd, row.digits)),
    Column("mean without collapsed", lambda row: number(row.mean_without_collapsed, row.digits)),
    Column("mean before training", lambda row: number(row.mean_before, row.digits)),
    Column("seeds", lambda row: str(len(row.runs))),
    Column("collapsed", lambda row: str(row.collapsed)),
    Column("trials", lambda row: None if row.trials is None else str(row.trials)),
    Column("notes", lambda row: row.notes or None),
    Column("adapter parameters", lambda row: f"{row.adapter_params:,}"),
    Column("head parameters", lambda row: f"{row.head_params:,}"),
    Column("of budget, %", lambda row: number(row.share, 1)),
    Column("stability of the plan (agreement)", lambda row: row.stability),
    Column("trained at most, parameters", lambda row: f"{row.trained_params:,}"),
    Column("before the first step, s", lambda row: number(row.start_seconds, 1)),
    Column("training, s", lambda row: number(row.train_seconds, 1)),
    Column("peak memory, MB", lambda row: number(row.peak_megabytes, 0)),
    Column("examples/s", lambda row: number(row.examples_per_second, 1)),
    Column("allocation, TFLOP", cost(allocation), NOT_RECORDED),
    Column("training, TFLOP", cost(lambda costs: teraflop(costs.training_flops)), NOT_RECORDED),
    Column("parameters at inference", cost(lambda costs: f"{costs.inference_params:,}"), NOT_RECORDED),
    Column("merges", cost(lambda costs: "yes" if costs.mergeable else "no"), NOT_RECORDED),
    Column("largest rank", cost(largest_rank), NOT_RECORDED),
)

CSV_COLUMNS = (
    *COLUMNS,
    Column("training examples", lambda row: None if row.training_examples is None else str(row.training_examples)),
    Column("evaluated examples", lambda row: str(row.evaluated_examples)),
)
"""The columns of `table.csv`, before those of the metrics. No caption says there what rows its values are on."""

HEADING_COLUMNS = ("task", "model", "metric")
"""What the caption of a task's own table says, so that its columns need not."""

PAIRS = "pairs.csv"
"""The file of a report with every pair that was compared."""
MOST_PAIRS = 36
"""Pairs of a group that a table shows whole: those of 9 rows, such as 8 methods and full fine-tuning."""

COMPARISON_TITLES = (
    "first",
    "second",
    "in words",
    "difference",
    "95 % interval",
    "effect size",
    "p",
    "p, corrected",
    "seeds",
    "collapsed (first, second)",
)


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        caption: what stands above it.
        titles: those of its columns.
        lines: the cells of each line, `-` for what has no value.
        protocol: where all rows are of one.
        bold: the cells in bold, as line and column from 0.
    """

    caption: str
    titles: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    protocol: str = ""
    bold: frozenset[tuple[int, int]] = frozenset()

    def is_numeric(self, column: int) -> bool:
        """Return whether every cell of a column is a number or has no value, to be set at the right."""
        return all(NUMBER.fullmatch(line[column]) for line in self.lines)


def result_tables(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> list[Table]:
    """Return a table per protocol, without the columns in which no row of it has a value."""
    tables = []
    for protocol in sorted({row.protocol for row in rows}):
        members = [row for row in rows if row.protocol == protocol]
        used = [column for column in columns if column.has_values(members)]
        titles = tuple(column.title for column in used)
        lines = []
        for row in members:
            lines.append(tuple(column.text(row) or column.missing for column in used))
        tables.append(Table(result_caption(members), titles, tuple(lines), protocol))
    return tables


def result_caption(rows: Sequence[Row]) -> str:
    """Say what the rows of one protocol are, how the epoch was selected, and what the numbers are of."""
    protocol = rows[0].protocol
    selections: set[str] = set()
    splits: set[str] = set()
    for row in rows:
        selections |= {re.sub(r" \(epoch \d+\)", "", run.result.selection) for run in row.runs}
        splits |= {run.result.results[0].split for run in row.runs}
    selection = PROTOCOLS.get(protocol) or "; ".join(sorted(selections))
    caption = (
        f"Protocol {protocol}: {selection}. Values are on {' or '.join(sorted(splits))}, as mean and standard "
        "deviation (n - 1) over seeds, collapsed seeds included. Parameters and memory are the largest of all seeds, "
        "seconds and operations the means."
    )
    return f"{caption} {glue_note(rows)}".rstrip()


def task_tables(rows: Sequence[Row]) -> Iterator[Table]:
    """Return a table for each task, model and metric of one protocol, without the columns that its caption says."""
    columns = [column for column in COLUMNS if column.title not in HEADING_COLUMNS]
    for task, model, metric in dict.fromkeys((row.task, row.model, row.metric) for row in rows):
        members = [row for row in rows if (row.task, row.model, row.metric) == (task, model, metric)]
        (table,) = result_tables(members, columns)
        yield replace(table, caption=f"{task}, {model}: {metric}")


def metric_tables(rows: Sequence[Row]) -> Iterator[Table]:
    """Return all metrics of each task, model and protocol that has more than one, and those of single labels apart."""
    for key in dict.fromkeys((row.task, row.model, row.protocol) for row in rows):
        members = [row for row in rows if (row.task, row.model, row.protocol) == key]
        note = f". {glue_note(members)}" if glue_note(members) else ""
        of_labels: dict[str, str] = {}
        for row in members:
            of_labels |= row.label_metrics
        names = list(dict.fromkeys(name for row in members for name in row.metrics if name not in of_labels))
        if len(names) > 1:
            lines = []
            for row in members:
                lines.append((row.name, row.budget, *(_mean_and_sd(row, name) for name in names)))
            caption = f"{key[0]}, {key[1]}, protocol {key[2]}: all metrics{note}"
            yield Table(caption, ("method", "budget", *names), tuple(lines))
        if of_labels:
            caption = f"{key[0]}, {key[1]}, protocol {key[2]}: values of each label{note}"
            yield _label_table(members, of_labels, caption)


def _label_table(rows: Sequence[Row], of_labels: Mapping[str, str], caption: str) -> Table:
    """Return a line for each label and a column for each row: there may be hundreds of labels."""
    titles = ("label", "value", *(f"{row.name}, {row.budget}" for row in rows))
    lines = []
    for name, label in of_labels.items():
        lines.append((label, name, *(_mean_and_sd(row, name) for row in rows)))
    return Table(caption, titles, tuple(lines))


def metric_texts(row: Row, name: str) -> tuple[str, str]:
    """Return mean and sd of one metric; empty where there is none."""
    values = row.metrics.get(name, [])
    average = number(mean(values), row.digits) if values else ""
    deviation = number(stdev(values), row.digits) if len(values) > 1 else ""
    return average or "", deviation or ""


def _mean_and_sd(row: Row, name: str) -> str:
    average, deviation = metric_texts(row, name)
    return f"{average} {PLUS_MINUS} {deviation}" if deviation else average or NONE


def comparison_tables(groups: Sequence[RowGroup], comparisons: Sequence[Comparison]) -> Iterator[Table]:
    """Return a table per group, pairs with uniform LoRA first; its caption says what the tests draw.

    Of more than `MOST_PAIRS` pairs only those with uniform LoRA, and those with a difference shown, are in the table:
    the file `PAIRS` has every pair.
    """
    for group in groups:
        references = {display_name(row) for row in group.rows if is_reference(row)}
        pairs = [pair for pair in comparisons if pair.group == group.name]
        if not pairs:
            continue
        caption = f"{group.name}: {pairs[0].metric}; {pairs[0].drawn}"
        of_reference = [pair for pair in pairs if references & {pair.first, pair.second}]
        others = [pair for pair in pairs if not references & {pair.first, pair.second}]
        if len(pairs) > MOST_PAIRS:
            others = [pair for pair in others if pair.is_shown]
            folded = len(pairs) - len(of_reference) - len(others)
            caption += (
                f". Here are the pairs with uniform LoRA, and those with a difference shown; the other {folded} of "
                f"{len(pairs)} are in {PAIRS}"
            )
        lines = tuple(_comparison_line(pair, group.rows[0].digits) for pair in (*of_reference, *others))
        yield Table(caption, COMPARISON_TITLES, lines)


def is_reference(row: Row) -> bool:
    """Return whether a row is uniform LoRA, alone or because GeLoRA's plan is the same."""
    # Its name is `gelora = lora (settings)` where both have one plan, and `lora [smoke]` for a short trial.
    return UNIFORM in row.name.split(" (")[0].split(" [")[0].split(" = ")


def _comparison_line(pair: Comparison, digits: int) -> tuple[str, ...]:
    """Return the cells of a comparison in the order of `COMPARISON_TITLES`."""
    interval = NONE if pair.low is None else f"{number(pair.low, digits)} to {number(pair.high, digits)}"
    has_collapsed = pair.collapsed_first + pair.collapsed_second > 0
    return (
        pair.first,
        pair.second,
        pair.verdict,
        f"{pair.difference:+.{digits}f}",
        interval,
        number(pair.effect_size, 2) or NONE,
        number(pair.p, 3) or NONE,
        number(pair.p_corrected, 3) or NONE,
        str(pair.seeds),
        f"{pair.collapsed_first}, {pair.collapsed_second}" if has_collapsed else NONE,
    )
