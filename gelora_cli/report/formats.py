"""Tables as Markdown, CSV and LaTeX (booktabs), of the same cells; no torch."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import replace

from gelora_cli.core.messages import escape_controls, escape_formula, escape_markdown
from gelora_cli.report.comparison import Comparison
from gelora_cli.report.rows import Row
from gelora_cli.report.tables import CSV_COLUMNS, MARK, NONE, NUMBER, PLUS_MINUS, Table, metric_texts

PAIR_FIELDS = (
    "group",
    "first",
    "second",
    "metric",
    "difference",
    "low",
    "high",
    "effect_size",
    "p",
    "p_corrected",
    "seeds",
    "collapsed_first",
    "collapsed_second",
    "trials_first",
    "trials_second",
    "verdict",
)
"""The columns of the file with every pair: fields of a comparison."""

TEX_HEAD = "% needs \\usepackage{booktabs} and \\usepackage{graphicx}\n"
PAPER_TEX_HEAD = "% needs \\usepackage{booktabs}\n"

NARROW, WIDE, WIDEST = 45, 84, 116
"""Letters of a line: that fit into one of two columns of a page, and into a page in small and in footnotesize."""
LONG, WRAPPED = 40, 47
"""Letters of a cell that is wrapped in LaTeX, and of its lines then, which are 7 cm wide in footnotesize."""

# One pass over the characters, so the braces of a replacement are not escaped again.
TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    PLUS_MINUS: r"$\pm$",
    MARK: r"$^\dagger$",
    # A line that began with one of them would give an argument to the end of the line above.
    "[": "{[}",
    "*": "{*}",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def markdown(table: Table) -> str:
    """Return a table as GitHub shows it, under its caption."""
    rule = ["---:" if table.is_numeric(column) and table.bold else "---" for column in range(len(table.titles))]
    lines = [_escape_all(table.titles), rule]
    for number, line in enumerate(table.lines):
        cells = _escape_all(line)
        lines.append([f"**{cell}**" if (number, column) in table.bold else cell for column, cell in enumerate(cells)])
    body = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{escape_markdown(table.caption)}\n\n{body}"


def _escape_all(cells: Sequence[str]) -> list[str]:
    return [escape_markdown(cell) for cell in cells]


def csv_text(rows: Sequence[Row]) -> str:
    """Return a line per row: every column, plain numbers, the protocol, and mean and sd of every metric of any task.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    titles = ["protocol", *(column.title for column in CSV_COLUMNS)]
    for name in metrics:
        titles += [f"{name} mean", f"{name} sd"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(escape_formula, titles))
    for row in rows:
        cells = [row.protocol]
        for column in CSV_COLUMNS:
            text = column.text(row) or ""
            text = "" if text == NONE else text
            # A whole number without the commas that people read it by.
            cells.append(text.replace(",", "") if re.fullmatch(r"[\d,]+", text) else text)
        for name in metrics:
            cells += metric_texts(row, name)
        writer.writerow([escape_formula(escape_controls(cell, one_line=True)) for cell in cells])
    return buffer.getvalue()


def pairs_csv(comparisons: Sequence[Comparison]) -> str:
    """Return a line per compared pair, with plain numbers: none is rounded, and what has no value is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(PAIR_FIELDS)
    for pair in comparisons:
        values = [getattr(pair, name) for name in PAIR_FIELDS]
        texts = ["" if value is None else str(value) for value in values]
        writer.writerow([escape_formula(escape_controls(text, one_line=True)) for text in texts])
    return buffer.getvalue()


def latex(table: Table) -> str:
    """Return a table in booktabs' style, in the letters that it needs to fit, without columns that have no value.

    Long texts are wrapped. A narrow one is a `table` of one column, a wider one a `table*` over the page. Only one that
    fits in no readable size is scaled to the page: `columns=` picks fewer columns.
    """
    table = _without_empty_columns(table)
    shape = "".join(_tex_column(table, column) for column in range(len(table.titles)))
    lines = [" & ".join(map(escape_tex, table.titles)) + r" \\"]
    for number, line in enumerate(table.lines):
        cells = [_tex_cell(cell, (number, column) in table.bold) for column, cell in enumerate(line)]
        lines.append(" & ".join(cells) + r" \\")
    body = "\n".join([r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"])
    tabular = f"\\begin{{tabular}}{{{shape}}}\n{body}\n\\end{{tabular}}"
    width = _letters(table)
    environment = "table" if width <= NARROW else "table*"
    size = r"\small" if width <= WIDE else r"\footnotesize"
    if width > WIDEST:
        tabular = f"\\resizebox{{\\linewidth}}{{!}}{{%\n{tabular}}}"
    return (
        f"\\begin{{{environment}}}\n\\centering\n\\caption{{{escape_tex(table.caption)}}}\n"
        f"\\vspace{{4pt}}\n{size}\n\\setlength{{\\tabcolsep}}{{4pt}}\n{tabular}\n\\end{{{environment}}}\n"
    )


def _without_empty_columns(table: Table) -> Table:
    """Return a table without the columns in which no line has a value; all where there is no line."""
    used = [number for number, cells in enumerate(zip(*table.lines, strict=True)) if set(cells) != {NONE}]
    if len(used) in (0, len(table.titles)):
        return table
    lines = []
    for line in table.lines:
        lines.append(tuple(line[column] for column in used))
    bold = frozenset((line, used.index(column)) for line, column in table.bold if column in used)
    return replace(table, titles=tuple(table.titles[column] for column in used), lines=tuple(lines), bold=bold)


def _is_long(cells: Sequence[str]) -> bool:
    return max(map(len, cells)) > LONG


def _tex_column(table: Table, column: int) -> str:
    """Return how LaTeX sets a column: numbers at the right, long texts wrapped."""
    if _is_long([line[column] for line in table.lines] or [""]):
        return "p{7cm}"
    return "r" if table.is_numeric(column) else "l"


def _tex_cell(cell: str, bold: bool) -> str:
    """Return a cell, its deviation in smaller letters; bold is the mean alone, and a mark moves no number."""
    if cell.endswith(MARK) and NUMBER.fullmatch(cell):
        return rf"{_tex_cell(cell.removesuffix(MARK), bold)}\rlap{{{TEX[MARK]}}}"
    text, separator, deviation = cell.partition(f" {PLUS_MINUS} ")
    if not separator or not NUMBER.fullmatch(cell):
        return rf"\textbf{{{escape_tex(cell)}}}" if bold else escape_tex(cell)
    mean = rf"\textbf{{{escape_tex(text)}}}" if bold else escape_tex(text)
    return rf"{mean}\,{{\scriptsize$\pm$\,{escape_tex(deviation)}}}"


def _letters(table: Table) -> int:
    """Return how many letters wide a table is, with a letter and a half between two columns."""
    widths = []
    for column in zip(table.titles, *table.lines, strict=True):
        width = max(len(cell) - (2 if PLUS_MINUS in cell else 0) for cell in column)
        widths.append(WRAPPED if _is_long(column[1:] or [""]) else width)
    return sum(widths) + 3 * (len(widths) - 1) // 2


def escape_tex(text: str) -> str:
    """Return text as LaTeX shows it."""
    return "".join(TEX.get(character, character) for character in escape_controls(text, one_line=True))
