"""Rows as tables: Markdown, CSV and LaTeX (booktabs), of the same cells; no torch."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from gelora_cli.core.messages import escape_controls, escape_formula, escape_markdown
from gelora_cli.report.rows import Row

NONE = "-"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
NUMBER = re.compile(rf"[-+]?[\d,]+(\.\d+)?( {PLUS_MINUS} [\d.]+)?|-")

PROTOCOLS = {
    "last": "no selection: the weights after the last step",
    "dev": "best epoch on the reported split itself, as published tables have it: optimistic",
}


@dataclass(frozen=True)
class Column:
    """A column: its title with the unit, and a row's text in it, None where it has no value."""

    title: str
    text: Callable[[Row], str | None]


def number(value: float | None, digits: int) -> str | None:
    """A number with so many digits behind the point; None stays None."""
    return None if value is None else f"{value:.{digits}f}"


COLUMNS = (
    Column("task", lambda row: row.task),
    Column("model", lambda row: row.model),
    Column("method", lambda row: row.name),
    Column("budget", lambda row: row.budget),
    Column("metric", lambda row: row.metric),
    Column("mean", lambda row: number(row.mean, row.digits)),
    Column("sd", lambda row: number(row.sd, row.digits)),
    Column("mean without collapsed", lambda row: number(row.mean_without_collapsed, row.digits)),
    Column("seeds", lambda row: str(len(row.runs))),
    Column("collapsed", lambda row: str(row.collapsed)),
    Column("notes", lambda row: row.notes or None),
    Column("adapter parameters", lambda row: f"{row.adapter_params:,}"),
    Column("head parameters", lambda row: f"{row.head_params:,}"),
    Column("of budget, %", lambda row: number(row.share, 1)),
    Column("trained at most, parameters", lambda row: f"{row.trained_params:,}"),
    Column("before the first step, s", lambda row: number(row.start_seconds, 1)),
    Column("training, s", lambda row: number(row.train_seconds, 1)),
    Column("peak memory, MB", lambda row: number(row.peak_megabytes, 0)),
    Column("examples/s", lambda row: number(row.examples_per_second, 1)),
)


@dataclass(frozen=True)
class Table:
    """A caption, titles and lines of text, `-` for what has no value; `protocol` where all rows are of one."""

    caption: str
    titles: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    protocol: str = ""

    def is_numeric(self, column: int) -> bool:
        """Whether every cell of a column is a number or has no value, to be set at the right."""
        return all(NUMBER.fullmatch(line[column]) for line in self.lines)


def result_tables(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> list[Table]:
    """A table per protocol; a column in which no row of it has a value is left out."""
    found = []
    for protocol in sorted({row.protocol for row in rows}):
        members = [row for row in rows if row.protocol == protocol]
        kept = [column for column in columns if any(column.text(row) is not None for row in members)]
        lines = tuple(tuple(column.text(row) or NONE for column in kept) for row in members)
        found.append(Table(caption(members), tuple(column.title for column in kept), lines, protocol))
    return found


def caption(rows: Sequence[Row]) -> str:
    """What the rows of one protocol are, how the epoch was selected, and what the numbers are of."""
    protocol = rows[0].protocol
    rules = sorted({re.sub(r" \(epoch \d+\)", "", run.result.selection) for row in rows for run in row.runs})
    rule = PROTOCOLS.get(protocol) or "; ".join(rules)
    splits = sorted({run.result.results[0].split for row in rows for run in row.runs})
    return (
        f"Protocol {protocol}: {rule}. Value on {' or '.join(splits)}; mean and standard deviation (n - 1) over seeds, "
        "collapsed seeds included; parameters and memory are the most of all seeds, seconds their means."
    )


def markdown(table: Table) -> str:
    """A GitHub table under its caption."""
    lines = [[escape_markdown(cell) for cell in line] for line in (table.titles, *table.lines)]
    rule = ["---"] * len(table.titles)
    return f"{escape_markdown(table.caption)}\n\n" + "".join(
        f"| {' | '.join(line)} |\n" for line in (lines[0], rule, *lines[1:])
    )


def csv_text(rows: Sequence[Row]) -> str:
    """A line per row: every column, plain numbers, the protocol, and mean and sd of every metric of any task.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    ends = [f"{name} {what}" for name in names for what in ("mean", "sd")]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(escape_formula, ["protocol", *(column.title for column in COLUMNS), *ends]))
    for row in rows:
        plain = [_plain(column, row) for column in COLUMNS]
        cells = [row.protocol, *plain, *(text for name in names for text in metric_texts(row, name))]
        writer.writerow([escape_formula(escape_controls(cell, one_line=True)) for cell in cells])
    return buffer.getvalue()


def _plain(column: Column, row: Row) -> str:
    text = column.text(row) or ""
    return text.replace(",", "") if re.fullmatch(r"[\d,]+", text) else text


def metric_texts(row: Row, name: str) -> tuple[str, str]:
    """Mean and sd of one metric; empty where there is none."""
    values = row.metrics.get(name, [])
    shown = number(mean(values), row.digits) if values else None
    return shown or "", (number(stdev(values), row.digits) or "") if len(values) > 1 else ""


def metric_tables(rows: Sequence[Row]) -> Iterator[Table]:
    """Of each task, model and protocol with more than one metric, all of them."""
    for key in dict.fromkeys((row.task, row.model, row.protocol) for row in rows):
        members = [row for row in rows if (row.task, row.model, row.protocol) == key]
        names = list(dict.fromkeys(name for row in members for name in row.metrics))
        if len(names) > 1:
            lines = tuple((row.name, row.budget, *(_mean_and_sd(row, name) for name in names)) for row in members)
            yield Table(f"{key[0]}, {key[1]}, protocol {key[2]}: all metrics", ("method", "budget", *names), lines)


def _mean_and_sd(row: Row, name: str) -> str:
    shown, spread = metric_texts(row, name)
    return f"{shown} {PLUS_MINUS} {spread}" if spread else shown or NONE


TEX_HEAD = "% needs \\usepackage{booktabs} and \\usepackage{graphicx}\n"


def latex(table: Table) -> str:
    """A `table*` environment in booktabs' style, as wide as the page."""
    shape = "".join("r" if table.is_numeric(column) else "l" for column in range(len(table.titles)))
    lines = [" & ".join(map(tex, line)) + r" \\" for line in (table.titles, *table.lines)]
    body = "\n".join([r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"])
    return (
        f"\\begin{{table*}}\n\\centering\n\\caption{{{tex(table.caption)}}}\n\\resizebox{{\\linewidth}}{{!}}{{%\n"
        f"\\begin{{tabular}}{{{shape}}}\n{body}\n\\end{{tabular}}}}\n\\end{{table*}}\n"
    )


TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    PLUS_MINUS: r"$\pm$",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def tex(text: str) -> str:
    """Text as LaTeX shows it."""
    return "".join(TEX.get(character, character) for character in escape_controls(text, one_line=True))
