"""Read CSV and TSV files; separator and quoting are detected where they are clear, and asked for where they are not."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_names, quote_name

if TYPE_CHECKING:
    from _csv import Reader

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""Name of a separator, as the configuration has it -> the character."""


@dataclass(frozen=True)
class Dialect:
    """How a file was written.

    Attributes:
        separator: `auto`, or a name of `SEPARATORS`.
        quoting: `auto`, `quotes` (a field in double quotes may hold separators and line breaks), or `none` (a quote is
            a character like any other).
    """

    separator: str = "auto"
    quoting: str = "auto"


@dataclass(frozen=True)
class DelimitedRows:
    """The wanted columns of a file.

    Attributes:
        separator: name of the separator.
        names: all names of the first line.
        columns: the wanted columns that the file has, n strings each.
        lines: the line of each row, (n,).
        suspect_line: the line of the first quoted field that holds a separator and a line break. Such a field swallows
            rows of a file that was written without quoting. 0 if there is none.
        note: what a user should know about how the file was read.
    """

    separator: str
    names: list[str]
    columns: dict[str, list[str]]
    lines: list[int]
    suspect_line: int
    note: str = ""


def read_delimited(text: str, where: str, wanted: Sequence[str], dialect: Dialect, *, usual: str) -> DelimitedRows:
    """Read the wanted columns below a first line with the columns' names; every value is a string.

    An unknown separator is the one by which the first line names the most wanted columns, and the usual one in case of
    doubt. With unknown quoting, quotes are read as CSV has them, with two exceptions for tab-separated files, which are
    then read without quoting, and `note` says so:

    - reading with quoting fails, but without quoting every line has its fields;
    - a quoted field holds a tab and a line break, and other fields hold bare quotes, which no CSV writer leaves.

    Args:
        text: the content of the file.
        where: the file, for messages.
        wanted: names of columns.
        dialect: what the user says about the file.
        usual: the usual separator of such files, a name of `SEPARATORS`.

    Raises:
        GeloraError: a line with another number of fields, a quote that isn't closed, a wanted column that comes twice,
            or a tab-separated file that can be read in both ways.
    """
    skipped_lines = 0
    separator = dialect.separator
    first_line, line_end, rest = text.partition("\n")
    for name, character in SEPARATORS.items():
        # Excel writes and reads such a line in front of the names.
        if line_end and first_line.strip("\r").lower() == f"sep={character}":
            skipped_lines = 1
            text = rest
            separator = name if separator == "auto" else separator
            break
    with _allow_fields_of(len(text)):
        if separator == "auto":
            separator = _detect_separator(text, wanted, usual)
        parser = _Parser(text, where, wanted, separator, skipped_lines)
        if dialect.quoting != "auto":
            return parser.parse(quoted=dialect.quoting == "quotes")
        return parser.parse_with_unknown_quoting()


@contextmanager
def _allow_fields_of(characters: int) -> Iterator[None]:
    """Let the csv module read fields of this length; by default it refuses more than 131,072 characters."""
    limit_before = csv.field_size_limit(max(characters, 1))
    try:
        yield
    finally:
        csv.field_size_limit(limit_before)


def _detect_separator(text: str, wanted: Sequence[str], usual: str) -> str:
    """Return the separator by which the first line names the most wanted columns, or else has several columns."""

    def rate(separator: str) -> tuple[int, bool]:
        lines = io.StringIO(text, newline="")
        try:
            header = next(csv.reader(lines, delimiter=SEPARATORS[separator], skipinitialspace=True), [])
        except csv.Error:
            return 0, False
        names = [name.strip() for name in header]
        return sum(name in names for name in wanted), len(names) > 1

    # Of equally good separators `max` returns the first, which is the usual one.
    return max([usual, *SEPARATORS], key=rate)


class _Parser:
    """The text of one file, which can be read with or without quoting."""

    def __init__(self, text: str, where: str, wanted: Sequence[str], separator: str, skipped_lines: int) -> None:
        self.text = text
        self.where = where
        self.wanted = wanted
        self.separator = separator
        self.skipped_lines = skipped_lines  # lines of the file in front of `text`

    def parse(self, *, quoted: bool) -> DelimitedRows:
        """Return all rows.

        Blanks after separators are dropped if the first line has one after each of them.

        Raises:
            GeloraError: a line that can't be read, with another number of fields or with the names of the columns.
        """
        reader = self._open_reader(quoted=quoted, skip_blanks=self._has_blanks_after_separators())
        lines: list[int] = []
        suspect_line = 0
        try:
            names = [name.strip() for name in next(reader, [])]
            position = self._find_columns(names)
            columns: dict[str, list[str]] = {name: [] for name in position}
            last_line = reader.line_num
            for fields in reader:
                first, last = last_line + 1, reader.line_num  # a quoted field can span lines
                last_line = last
                if not fields:
                    continue
                line = self.skipped_lines + first
                row = self._fit_to_names(fields, names, line)
                self._refuse_header(row, names, line)
                if not suspect_line and last > first and self._has_run_on_field(row):
                    suspect_line = line
                for name, index in position.items():
                    columns[name].append(row[index])
                lines.append(line)
        except csv.Error as error:
            line = self.skipped_lines + reader.line_num
            raise GeloraError(f"{self.where}, line {line}: {error}; quote texts as CSV does") from error
        return DelimitedRows(self.separator, names, columns, lines, suspect_line)

    def parse_with_unknown_quoting(self) -> DelimitedRows:
        """Return all rows, read in the way that `read_delimited` describes.

        Raises:
            GeloraError: the file can be read in no way, or in both.
        """
        try:
            quoted = self.parse(quoted=True)
        except GeloraError as error:
            return self._parse_after_failure(error)
        if not quoted.suspect_line:
            return quoted
        try:
            unquoted = self.parse(quoted=False)
        except GeloraError:
            return quoted
        # Both ways give complete rows.
        finding = f"line {quoted.suspect_line}: a quoted field runs over a {self.separator} and a line break"
        rows = f"{len(quoted.lines):,} rows with quoting and {len(unquoted.lines):,} without it"
        if self.separator != "tab":
            return replace(quoted, note=f"{finding}, {rows}; if quotes are characters of the text: data.quoting=none")
        if self.has_bare_quotes():
            return replace(
                unquoted, note=f"read without quoting ({finding}, {rows}); to read quotes: data.quoting=quotes"
            )
        raise GeloraError(
            f"{self.where}, {finding}, {rows}; say which is right: data.quoting=quotes, or data.quoting=none if quotes "
            "are characters of the text"
        )

    def _parse_after_failure(self, failure: GeloraError) -> DelimitedRows:
        """Read a tab-separated file without quoting, after reading it with quoting failed; refuse any other file."""
        try:
            unquoted = self.parse(quoted=False)
        except GeloraError:
            raise failure from None
        if self.separator != "tab":
            raise GeloraError(f"{failure}; if quotes are characters of the text give data.quoting=none") from failure
        reason = str(failure).removeprefix(f"{self.where}, ")
        return replace(unquoted, note=f"read without quoting ({reason}); to read quotes: data.quoting=quotes")

    def has_bare_quotes(self) -> bool:
        """Return whether a field without quotes around it holds a quote; the text must be readable with quoting."""
        edge = re.escape(SEPARATORS[self.separator]) + "\r\n"
        # A field starts at the start of the text or after an edge. It is quoted, or it is group 1.
        fields = re.finditer(rf'(?:\A|(?<=[{edge}]))(?:"(?:[^"]|"")*"|([^{edge}]*))', self.text)
        return any('"' in (field[1] or "") for field in fields)

    def _has_blanks_after_separators(self) -> bool:
        first_row: list[str] = next(self._open_reader(quoted=False), [])
        return len(first_row) > 1 and all(name.startswith(" ") for name in first_row[1:])

    def _open_reader(self, *, quoted: bool, skip_blanks: bool = False) -> Reader:
        return csv.reader(
            io.StringIO(self.text, newline=""),  # newline="": else line ends inside a quoted field would change
            delimiter=SEPARATORS[self.separator],
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            skipinitialspace=skip_blanks,
            strict=True,  # a quote that isn't closed is an error, and not the rest of the file
        )

    def _find_columns(self, names: Sequence[str]) -> dict[str, int]:
        """Return the position in a row of each wanted column that the first line names."""
        for name in self.wanted:
            if names.count(name) > 1:
                raise GeloraError(f"{self.where}: two columns are named {quote_name(name)}; rename one of them")
        return {name: names.index(name) for name in self.wanted if name in names}

    def _fit_to_names(self, row: list[str], names: Sequence[str], line: int) -> list[str]:
        """Return a row with one field for each name of the first line.

        A row may have empty fields too many at its end, and may lack fields at its end whose column has no name.
        """
        count = len(names)
        if len(row) == count or (len(row) > count and not any(row[count:])):
            return row[:count]
        if len(row) < count and not any(names[len(row) :]):
            return [*row, *[""] * (count - len(row))]
        raise GeloraError(
            f"{self.where}, line {line}: {len(row)} fields, but the first line names {count} ({join_names(names)}), "
            f'separated by {self.separator}; put texts that hold the separator in "quotes", or name the separator by '
            f"data.separator=NAME ({', '.join(SEPARATORS)})"
        )

    def _refuse_header(self, row: Sequence[str], names: Sequence[str], line: int) -> None:
        """Refuse a row that repeats the names of the columns, as in files that were joined by `cat`."""
        if len(names) > 1 and [field.strip() for field in row] == names:
            raise GeloraError(
                f"{self.where}, line {line}: the names of the columns come again here, as in files that were joined; "
                "remove that line"
            )

    def _has_run_on_field(self, row: Sequence[str]) -> bool:
        """Return whether a field holds a line break and a separator; a TSV of one column needs no separator."""
        character = SEPARATORS[self.separator]
        is_single_tsv_column = len(row) == 1 and character == "\t"
        multi_line = [field for field in row if "\n" in field or "\r" in field]
        return any(character in field or is_single_tsv_column for field in multi_line)
