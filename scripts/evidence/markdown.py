"""Pieces of Markdown: tables whose lines have anchors, and texts that end no cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NONE = "-"


@dataclass(frozen=True)
class Line:
    """A line of a table, whose first cell can be linked to by its anchor."""

    cells: tuple[str, ...]
    anchor: str = ""


def table(titles: Sequence[str], lines: Sequence[Line], *, anchor: str = "", numbers_from: int = 1) -> str:
    """Return a table, its anchor alone where it has no lines; columns from `numbers_from` on are set at the right."""
    if not lines:
        return f"{anchored(anchor)}\n"
    rules = ["---" if column < numbers_from else "---:" for column in range(len(titles))]
    rows = [list(titles), rules]
    for line in lines:
        first = anchored(line.anchor) + line.cells[0]
        rows.append([first, *line.cells[1:]])
    body = "".join(f"| {' | '.join(map(cell, row))} |\n" for row in rows)
    return f"{anchored(anchor)}\n\n{body}" if anchor else body


def anchored(anchor: str) -> str:
    """Return what a link to `#anchor` leads to."""
    return f'<a id="{anchor}"></a>' if anchor else ""


def cell(text: str) -> str:
    """Return a text that ends no cell."""
    return " ".join(text.replace("|", "\\|").split())


def mean_sd(mean: float, sd: float | None) -> str:
    """Return a mean with its standard deviation over seeds, in points."""
    return f"{mean:.1f}" if sd is None else f"{mean:.1f} \N{PLUS-MINUS SIGN} {sd:.1f}"


def listed(names: Sequence[str]) -> str:
    """Return names with commas, and `and` before the last."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
