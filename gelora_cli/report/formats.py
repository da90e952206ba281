"""Tables as Markdown, CSV and LaTeX (booktabs), of the same cells; no torch."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from gelora_cli.core.messages import escape_controls, escape_formula, escape_markdown
from gelora_cli.report.rows import Row
from gelora_cli.report.tables import COLUMNS, NONE, PLUS_MINUS, Table, metric_texts

TEX_HEAD = "% needs \\usepackage{booktabs} and \\usepackage{graphicx}\n"

# One pass over the characters, so the braces of a replacement are not escaped again.
TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    PLUS_MINUS: r"$\pm$",
    # A line that began with one of them would give an argument to the end of the line above.
    "[": "{[}",
    "*": "{*}",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def markdown(table: Table) -> str:
    """Return a table as GitHub shows it, under its caption."""
    rule = ["---"] * len(table.titles)
    lines = [_escape_all(table.titles), rule, *(_escape_all(line) for line in table.lines)]
    body = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{escape_markdown(table.caption)}\n\n{body}"


def _escape_all(cells: Sequence[str]) -> list[str]:
    return [escape_markdown(cell) for cell in cells]


def csv_text(rows: Sequence[Row]) -> str:
    """Return a line per row: every column, plain numbers, the protocol, and mean and sd of every metric of any task.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    titles = ["protocol", *(column.title for column in COLUMNS)]
    for name in metrics:
        titles += [f"{name} mean", f"{name} sd"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(escape_formula, titles))
    for row in rows:
        cells = [row.protocol]
        for column in COLUMNS:
            text = column.text(row) or ""
            text = "" if text == NONE else text
            # A whole number without the commas that people read it by.
            cells.append(text.replace(",", "") if re.fullmatch(r"[\d,]+", text) else text)
        for name in metrics:
            cells += metric_texts(row, name)
        writer.writerow([escape_formula(escape_controls(cell, one_line=True)) for cell in cells])
    return buffer.getvalue()


def latex(table: Table) -> str:
    """Return a `table*` environment in booktabs' style, as wide as the page."""
    shape = "".join("r" if table.is_numeric(column) else "l" for column in range(len(table.titles)))
    lines = [" & ".join(map(escape_tex, line)) + r" \\" for line in (table.titles, *table.lines)]
    body = "\n".join([r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"])
    return (
        f"\\begin{{table*}}\n\\centering\n\\caption{{{escape_tex(table.caption)}}}\n\\resizebox{{\\linewidth}}{{!}}{{%\n"
        f"\\begin{{tabular}}{{{shape}}}\n{body}\n\\end{{tabular}}}}\n\\end{{table*}}\n"
    )


def escape_tex(text: str) -> str:
    """Return text as LaTeX shows it."""
    return "".join(TEX.get(character, character) for character in escape_controls(text, one_line=True))
