"""Tables as aligned text: all of it in a pipe, and as much as fits on a terminal; no torch."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

from gelora_cli.core.messages import escape_controls

LONGEST_CELL = 700
"""Characters of a cell. A longer one, such as a message that holds another program's output, is cut."""
GAP = "  "
NARROWEST_WRAPPED = 20
"""A wrapped column keeps as many characters, however narrow the terminal."""


def terminal_width() -> int | None:
    """Return how many characters fit into a line of the terminal; None where standard output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def format_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None = None,
    optional: Sequence[str] = (),
    wrapped: str = "",
) -> str:
    """Return a table with columns as wide as their widest cell; a cell is one line that no terminal obeys.

    A cell of more than `LONGEST_CELL` characters is cut, since every other one of its column is padded to it.

    Args:
        header: the titles of the columns.
        rows: the cells of each row.
        width: of the terminal; None where nothing is left out or wrapped.
        optional: titles of columns that may be left out where the table is wider, the first one first. A line below
            the table says which were.
        wrapped: the title of the column whose words go on below each other where the table is wider; empty for the last
            one. Words are never broken, so that a path can still be copied.
    """
    titles = list(header)
    cells = [list(map(_one_line, row)) for row in rows]
    if width is None:
        return "\n".join(_align([titles, *cells]))
    wrapped = wrapped or titles[-1]
    left_out = []
    for title in optional:  # one after the other, until the table fits
        if _least_width([titles, *cells], titles.index(wrapped)) <= width:
            break
        column = titles.index(title)
        left_out.append(title)
        for line in (titles, *cells):
            del line[column]
    lines = _wrap_column([titles, *cells], titles.index(wrapped), width)
    if left_out:
        note = f"Not shown at this width: {', '.join(left_out)}. A wider terminal or a pipe shows all columns."
        lines += textwrap.wrap(note, width)
    return "\n".join(lines)


def _one_line(text: str) -> str:
    text = escape_controls(text, one_line=True)
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..."


def _column_widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _align(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return each line with its cells padded to the width of their columns."""
    widths = _column_widths(lines)
    padded = [map(str.ljust, line, widths) for line in lines]
    return [GAP.join(line).rstrip() for line in padded]


def _width_of_others(lines: Sequence[Sequence[str]], column: int) -> int:
    """Return the width of all other columns, with the gaps between all."""
    widths = _column_widths(lines)
    return sum(widths) - widths[column] + len(GAP) * (len(widths) - 1)


def _least_width(lines: Sequence[Sequence[str]], column: int) -> int:
    """Return the width of the table when this column is wrapped."""
    words = [word for line in lines for word in line[column].split()]
    longest_word = max(map(len, words), default=0)
    unwrapped = _column_widths(lines)[column]
    return _width_of_others(lines, column) + min(unwrapped, max(longest_word, NARROWEST_WRAPPED))


def _wrap_column(lines: Sequence[Sequence[str]], column: int, width: int) -> list[str]:
    """Return the lines, with the words of this column below each other where they are too many."""
    room = max(width - _width_of_others(lines, column), NARROWEST_WRAPPED)
    wrapped: list[list[str]] = []
    for line in lines:
        parts = textwrap.wrap(line[column], room, break_long_words=False, break_on_hyphens=False) or [""]
        for number, part in enumerate(parts):
            others = line if number == 0 else [""] * len(line)
            wrapped.append([*others[:column], part, *others[column + 1 :]])
    return _align(wrapped)
