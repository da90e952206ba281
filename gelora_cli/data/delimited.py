"""CSV and TSV files: their separator and their quoting, found where that is clear, and their rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_names, quote_name

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}


@dataclass(frozen=True)
class Dialect:
    """How a file was written: `separator` is `auto` or a name of `SEPARATORS`, `quoting` auto, quotes or none.

    With `quotes` a field in double quotes may hold separators and line breaks; with `none` a quote is a character.
    """

    separator: str = "auto"
    quoting: str = "auto"


@dataclass(frozen=True)
class DelimitedRows:
    """The wanted columns of a file, the line of each row, and all names of its first line.

    `run_on` is the line of the first quoted field that runs over a separator and a line break, as one does that takes
    in rows of an unquoted file; 0 where there is none. `note` says what a user should know of how it was read.
    """

    separator: str
    names: list[str]
    columns: dict[str, list[str]]
    lines: list[int]
    run_on: int
    note: str = ""


def read_delimited(text: str, where: str, wanted: Sequence[str], dialect: Dialect, *, usual: str) -> DelimitedRows:
    """Read the wanted columns below a first line with the columns' names; every value is a string.

    The separator is the one by which the first line names most wanted columns, in doubt the `usual` one of such files.
    Quotes are taken as CSV has them. Where a tab-separated file then fails, but every line has its fields without
    quoting, it is read so, and `note` says it; likewise where a quoted field runs over a tab and a line break and other
    fields hold bare quotes, which no CSV writer leaves.

    Raises:
        GeloraError: a line with another number of fields, a quote that isn't closed, a wanted column twice, or a
            tab-separated file that can be read in both ways.
    """
    start = 0
    separator = dialect.separator
    first_line = text[: text.find("\n") + 1].strip("\r\n")
    for name, character in SEPARATORS.items():
        if first_line.lower() == f"sep={character}":  # as Excel writes and reads it
            start, text = 1, text[text.find("\n") + 1 :]
            separator = name if separator == "auto" else separator
    with _fields_up_to(len(text)):
        if separator == "auto":
            separator = _find_separator(text, wanted, usual)
        parser = _Parser(text, where, wanted, separator, start)
        if dialect.quoting != "auto":
            return parser.parse(quoted=dialect.quoting == "quotes")
        return _parse_either(parser)


@contextmanager
def _fields_up_to(characters: int) -> Iterator[None]:
    """Let the csv module, which refuses fields of more than 131,072 characters, take these."""
    before = csv.field_size_limit(max(characters, 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _find_separator(text: str, wanted: Sequence[str], usual: str) -> str:
    def names_wanted_columns(separator: str) -> tuple[int, bool]:
        try:
            lines = io.StringIO(text, newline="")
            header = next(csv.reader(lines, delimiter=SEPARATORS[separator], skipinitialspace=True), [])
        except csv.Error:
            return 0, False
        names = [name.strip() for name in header]
        return sum(name in names for name in wanted), len(names) > 1

    return max([usual, *SEPARATORS], key=names_wanted_columns)


def _parse_either(parser: _Parser) -> DelimitedRows:
    """Read a file whose quoting is not known."""
    try:
        quoted = parser.parse(quoted=True)
    except GeloraError as error:
        return _parse_unquoted(parser, error)
    if not quoted.run_on:
        return quoted
    try:
        unquoted = parser.parse(quoted=False)
    except GeloraError:
        return quoted
    seen = f"line {quoted.run_on}: a quoted field runs over a {parser.separator} and a line break"
    rows = f"{len(quoted.lines):,} rows with quoting and {len(unquoted.lines):,} without it"
    if parser.separator != "tab":
        return replace(quoted, note=f"{seen}, {rows}; if quotes are characters of the text: data.quoting=none")
    if parser.has_bare_quotes():
        return replace(unquoted, note=f"read without quoting ({seen}, {rows}); to read quotes: data.quoting=quotes")
    raise GeloraError(
        f"{parser.where}, {seen}, {rows}; say which is right: data.quoting=quotes, or data.quoting=none where quotes "
        "are characters of the text"
    )


def _parse_unquoted(parser: _Parser, problem: GeloraError) -> DelimitedRows:
    """Read a tab-separated file without the quoting that it can't be read with; refuse any other."""
    try:
        unquoted = parser.parse(quoted=False)
    except GeloraError:
        raise problem from None
    if parser.separator != "tab":
        raise GeloraError(f"{problem}; if quotes are characters of the text give data.quoting=none") from problem
    seen = str(problem).removeprefix(f"{parser.where}, ")
    return replace(unquoted, note=f"read without quoting ({seen}); to read quotes: data.quoting=quotes")


class _Parser:
    """One file's text, to be read with or without quoting; `start` lines stand before it."""

    def __init__(self, text: str, where: str, wanted: Sequence[str], separator: str, start: int) -> None:
        self.text, self.where, self.wanted = text, where, wanted
        self.separator, self.start = separator, start

    def parse(self, *, quoted: bool) -> DelimitedRows:
        """Read all rows; blanks behind separators are left out where the first line has one behind each."""
        character = SEPARATORS[self.separator]
        first: list[str] = next(self._reader(quoted=False), [])
        spaced = len(first) > 1 and all(name.startswith(" ") for name in first[1:])
        reader = self._reader(quoted=quoted, skip_blanks=spaced)
        names: list[str] = []
        lines: list[int] = []
        run_on = 0
        try:
            names = [name.strip() for name in next(reader, [])]
            places = self._places(names)
            columns: dict[str, list[str]] = {name: [] for name in places}
            before = reader.line_num
            for fields in reader:
                line, before = before + 1, reader.line_num
                if not fields:
                    continue
                row = self._fitted(fields, names, self.start + line)
                self._refuse_header(row, names, self.start + line)
                if not run_on and reader.line_num > line and self._runs_on(row, character):
                    run_on = self.start + line
                for name, place in places.items():
                    columns[name].append(row[place])
                lines.append(self.start + line)
        except csv.Error as error:
            line = self.start + reader.line_num
            raise GeloraError(f"{self.where}, line {line}: {error}; quote texts as CSV does") from error
        return DelimitedRows(self.separator, names, columns, lines, run_on)

    def _reader(self, *, quoted: bool, skip_blanks: bool = False) -> Any:
        return csv.reader(
            io.StringIO(self.text, newline=""),
            delimiter=SEPARATORS[self.separator],
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            skipinitialspace=skip_blanks,
            strict=True,
        )

    def has_bare_quotes(self) -> bool:
        """Say whether a field without quotes around it holds one, of a text that can be read with quoting."""
        edge = re.escape(SEPARATORS[self.separator]) + "\r\n"
        fields = re.finditer(rf'(?:\A|(?<=[{edge}]))(?:"(?:[^"]|"")*"|([^{edge}]*))', self.text)
        return any('"' in (field[1] or "") for field in fields)

    def _places(self, names: Sequence[str]) -> dict[str, int]:
        """Return the place of each wanted column in the first line."""
        for name in self.wanted:
            if names.count(name) > 1:
                raise GeloraError(f"{self.where}: two columns of one name: {quote_name(name)}; rename one")
        return {name: names.index(name) for name in self.wanted if name in names}

    def _fitted(self, row: list[str], names: Sequence[str], line: int) -> list[str]:
        """Return a row with a field per name; empty fields at its end may be too many, unnamed columns missing."""
        count = len(names)
        if len(row) == count or (len(row) > count and not any(row[count:])):
            return row[:count]
        if len(row) < count and not any(names[len(row) :]):
            return [*row, *[""] * (count - len(row))]
        raise GeloraError(
            f"{self.where}, line {line}: {len(row)} fields where the first line names {count} ({join_names(names)}), "
            f'separated by {self.separator}; put texts that hold the separator in "quotes", or name the separator by '
            f"data.separator=NAME ({', '.join(SEPARATORS)})"
        )

    def _refuse_header(self, row: Sequence[str], names: Sequence[str], line: int) -> None:
        """Refuse a row that says the names of the columns again, as files that were joined by `cat` have."""
        if len(names) > 1 and [field.strip() for field in row] == names:
            raise GeloraError(
                f"{self.where}, line {line}: the names of the columns again, as where files were joined; remove that "
                "line"
            )

    def _runs_on(self, row: Sequence[str], character: str) -> bool:
        """Say whether a field holds a line break and a separator; in a single column of a TSV the break is enough."""
        broken = [field for field in row if "\n" in field or "\r" in field]
        return any(character in field or (len(row) == 1 and character == "\t") for field in broken)
