"""Read files of your own data as columns: CSV, TSV, JSON lines, parquet, or text with one example a line."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import expand_home
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.messages import has_lone_surrogate, quote, quote_path, suggest
from gelora_cli.data.delimited import Dialect, read_delimited
from gelora_cli.data.json_input import parse_json, refuse_repeated
from gelora_cli.data.parquet import read_parquet
from gelora_cli.data.paths import is_file
from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.reading import once_while_reading
from gelora_cli.data.splits import TextSplit
from gelora_cli.data.squad import read_squad_json
from gelora_cli.data.text_input import STANDARD_INPUT, read_standard_input, read_text


@dataclass(frozen=True)
class Table:
    """The requested columns of a file, n values each, as the file holds them.

    Attributes:
        name: the file, for messages.
        columns: values of each requested column that the file has, (n,).
        numbers: the line, or the row, of the file that each value comes from, (n,).
        unit: what `numbers` counts, `line` or `row`.
        classes: the labels of a column in the order in which the file itself names them (parquet only).
        names: the names of all columns of the file.
        note: what a user should know about how the file was read.
        separator: the separator of a delimited file by its name, else empty.
    """

    name: str
    columns: dict[str, list[Any]]
    numbers: Sequence[int]
    unit: str = "line"
    classes: dict[str, list[str]] = field(default_factory=dict)
    names: Sequence[str] = ()
    note: str = ""
    separator: str = ""

    def __len__(self) -> int:
        return len(self.numbers)

    def location(self, row: int) -> str:
        """Return the file and the line of a row, for messages."""
        return f"{self.name}, {self.unit} {self.numbers[row]}"

    def texts(self, column: str) -> list[str]:
        """Return a column of texts, in which a missing value is the empty text.

        Raises:
            GeloraError: a value is not a text.
        """
        texts = ["" if value is None else value for value in self.columns[column]]
        for row, text in enumerate(texts):
            if not isinstance(text, str) or has_lone_surrogate(text):
                raise GeloraError(
                    f"{self.location(row)}: {column} must be a text in valid Unicode, not {quote(text)}. Correct the "
                    "value, or write numbers in quotes"
                )
        return texts

    def refuse_empty_texts(self, columns: Iterable[Sequence[str]], fix: str) -> None:
        """Refuse rows with a text that is empty or holds only blanks.

        Raises:
            GeloraError: there are such rows; the message names the first, and ends in `fix`.
        """
        empty_rows: set[int] = set()
        for column in columns:
            empty_rows.update(row for row, text in enumerate(column) if not text.strip())
        if empty_rows:
            first = self.location(min(empty_rows))
            raise GeloraError(f"{first}: an empty text{describe_count(len(empty_rows))}; {fix}")


@dataclass(frozen=True)
class Request:
    """What is read of a file.

    Attributes:
        texts: columns of texts.
        others: other columns, such as the labels.
        dialect: how a CSV or TSV file is written.
        group: the column that says which rows belong together.
    """

    texts: Sequence[str]
    others: Sequence[str] = ()
    dialect: Dialect = field(default_factory=Dialect)
    group: str | None = None

    @property
    def wanted(self) -> tuple[str, ...]:
        """Return all columns that are read, each once."""
        names = [*self.texts, *self.others]
        if self.group:
            names.append(self.group)
        return tuple(dict.fromkeys(names))


def read_table(path: Path, request: Request, *, key: str, optional: Sequence[str] = ()) -> Table:
    """Read the requested columns of a file, whose kind is known by its suffix (see `READERS`).

    A text file holds texts alone; those of a pair are separated by a tab.

    Args:
        path: the file.
        request: which columns to read.
        key: the key by which the user named the file, for messages.
        optional: columns that the file may lack.

    Raises:
        GeloraError: no such file, an unknown suffix, not UTF-8, a damaged line, no rows, or a missing column.
    """
    accepted = ", ".join(READERS)
    if not is_file(path):
        raise GeloraError(f"{key}={quote_path(path)}: no such file; accepted: {accepted}")
    if path.suffix.lower() not in READERS:
        raise GeloraError(f"{key}={path}: unknown kind of file; accepted by suffix: {accepted}")
    table = _read_file(path, request)
    if not len(table):
        raise GeloraError(f"{key}={path}: no rows; give a file with at least one")
    for name in request.wanted:
        if name not in table.columns and name not in optional:
            raise GeloraError(f"{key}={path}: no column {name}; {_explain_missing_column(name, table, request, key)}")
    return table


@once_while_reading
def _read_file(path: Path, request: Request) -> Table:
    """Return what a file of a known kind holds of the requested columns."""
    return READERS[path.suffix.lower()](path, request)


def _explain_missing_column(name: str, table: Table, request: Request, key: str) -> str:
    """Return which columns the file has, and which setting names the right one."""
    if Path(table.name).suffix.lower() == ".txt":
        return "a text file has no labels. It can be profiled; for training give a table with a column of labels"
    if key == "file":
        fix = "Rename the column in the file: the run was trained on columns of these names"
    elif name in request.texts:
        fix = "Name the right column by task.columns=[...]"
    else:
        setting = "group" if name == request.group else "label"
        fix = f"Name the right column by task.{setting}=COLUMN"
        if setting == "label" and len(request.others) > 1:
            fix = "Name the right columns by task.label_columns=[...]"
    if table.separator:
        fix += f". The file was read with {table.separator} as separator; for another one give data.separator=NAME"
    return f"{suggest(name, table.names)}. {fix}"


def describe_count(rows: int) -> str:
    """Return how many rows have a problem, to follow the first of them in a message; empty for one row."""
    return f", the first of {rows:,} such rows" if rows > 1 else ""


def concatenate_tables(tables: Sequence[Table], name: str) -> Table:
    """Return the rows of several files of one split as one table, in which rows are counted from 1.

    Raises:
        GeloraError: the files have different columns.
    """
    first = tables[0]
    columns: dict[str, list[Any]] = {column: [] for column in first.columns}
    for table in tables:
        if list(table.columns) != list(first.columns):
            raise GeloraError(
                f"{table.name} has other columns than {first.name}: {', '.join(table.columns)}. Give all files of a "
                "split the same columns"
            )
        for column, values in table.columns.items():
            columns[column] += values
    rows = sum(len(table) for table in tables)
    # Class names of a column are used only if all files agree about them.
    classes = first.classes if all(table.classes == first.classes for table in tables) else {}
    notes = "; ".join(f"{table.name}: {table.note}" for table in tables if table.note)
    return Table(name, columns, range(1, rows + 1), "row", classes, first.names, notes)


def read_rows(task: TaskConfig, name: str, dialect: Dialect | None = None) -> TextSplit:
    """Return the texts of a file, or of the lines of standard input (`-`), for `gelora predict`.

    The columns of a file have the names that the task gives them. A line of standard input is a text, or two texts
    with a tab between them for a task on pairs. A CSV file is read by `dialect`.

    Raises:
        GeloraError: what `read_table` refuses, or a row without text.
    """
    table = read_input_table(name, Request(task.columns, dialect=dialect or Dialect()))
    columns = tuple(table.texts(column) for column in task.columns)
    table.refuse_empty_texts(columns, "remove those rows")
    return TextSplit("input", np.arange(len(table), dtype=np.int64), columns, None)


def read_input_table(name: str, request: Request, *, optional: Sequence[str] = ()) -> Table:
    """Return the rows of a file, or of the lines of standard input (`-`), for `gelora predict`.

    Raises:
        GeloraError: what `read_table` refuses, or there are no rows.
    """
    if name == "-":
        table = split_lines(read_standard_input(), request.texts, STANDARD_INPUT)
    else:
        table = read_table(Path(expand_home(name)), request, key="file", optional=optional)
        if table.note:
            LOGGER.warning("%s: %s", name, table.note)
    if not len(table):
        fix = "give lines to read, file=FILE or split=NAME" if name == "-" else "give at least one line"
        raise GeloraError(f"{table.name}: no rows; {fix}")
    return table


def read_questions(name: str) -> QuestionSplit:
    """Return the questions of a file, or of standard input (`-`), in SQuAD's JSON format.

    Raises:
        GeloraError: no such file, or a content in another format.
    """
    if name == "-":
        return read_squad_json(read_standard_input(), STANDARD_INPUT)
    path = Path(expand_home(name))
    if not is_file(path):
        raise GeloraError(
            f"file={quote_path(name)}: no such file; a JSON file in SQuAD's format is accepted, or - for standard input"
        )
    return read_squad_json(read_text(path), name)


def _read_csv(path: Path, request: Request) -> Table:
    """Read the rows below a line with the columns' names; every value is a string, also a number."""
    usual = "tab" if path.suffix.lower() == ".tsv" else "comma"
    rows = read_delimited(read_text(path), str(path), request.wanted, request.dialect, usual=usual)
    notes = []
    if rows.separator != usual:
        notes.append(f"columns separated by {rows.separator}")
    if rows.note:
        notes.append(rows.note)
    columns: dict[str, list[Any]] = dict(rows.columns)
    return Table(str(path), columns, rows.lines, names=rows.names, note="; ".join(notes), separator=rows.separator)


def _read_jsonl(path: Path, request: Request) -> Table:
    """Read one object a line; blank lines are skipped, and a name that an object lacks is None."""
    numbers: list[int] = []
    names: dict[str, None] = {}  # an ordered set
    values: dict[str, list[Any]] = {name: [] for name in request.wanted}
    # str.splitlines would also split at characters that JSON allows inside a text, such as U+2028.
    for number, line in enumerate(io.StringIO(read_text(path), newline=""), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        row = parse_json(line, where, "one object a line is accepted")
        if not isinstance(row, dict):
            raise GeloraError(f"{where}: {line.strip()[:40]} is not an object; one object a line is accepted")
        refuse_repeated(row, request.wanted, where)
        names |= dict.fromkeys(row)
        numbers.append(number)
        for name, column in values.items():
            column.append(row.get(name))
    # A name that is in no line is a missing column; one that is in some lines is a column with missing values.
    columns = {name: column for name, column in values.items() if name in names}
    return Table(str(path), columns, numbers, names=list(names))


def _read_parquet(path: Path, request: Request) -> Table:
    """Read the wanted columns; codes of class labels become the names that the file has for them, and -1 None.

    A list of codes becomes a list of names.
    """
    parquet = read_parquet([path], request.wanted)
    columns = {name: list(parquet.values(name)) for name in parquet.columns}
    for name, labels in parquet.classes.items():
        # The hub writes -1 for a row without label.
        label_of_code: dict[int, str | None] = {-1: None, **dict(enumerate(labels))}
        columns[name] = [_named_codes(value, label_of_code) for value in columns[name]]
    return Table(str(path), columns, range(1, parquet.rows + 1), "row", parquet.classes, parquet.names)


def _named_codes(value: Any, label_of_code: Mapping[int, str | None]) -> Any:
    """Return the label of a code, or those of a list of codes; any other value, and an unknown code, as it is."""
    if isinstance(value, list):
        return [_named_codes(code, label_of_code) for code in value]
    return label_of_code.get(value, value) if isinstance(value, int) else value


def split_lines(text: str, text_columns: Sequence[str], name: str) -> Table:
    """Return one text a line, or two texts with a tab between them."""
    columns: dict[str, list[Any]] = {column: [] for column in text_columns}
    lines = [line.rstrip("\r\n") for line in io.StringIO(text, newline="")]
    for number, line in enumerate(lines, 1):
        fields = line.split("\t") if len(text_columns) > 1 else [line]
        if len(fields) != len(text_columns):
            raise GeloraError(f"{name}, line {number}: {quote(line)} is not {' TAB '.join(text_columns)}")
        for column, value in zip(text_columns, fields, strict=True):
            columns[column].append(value)
    return Table(name, columns, range(1, len(lines) + 1), names=list(columns))


READERS: dict[str, Callable[[Path, Request], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
    ".txt": lambda path, request: split_lines(read_text(path), request.texts, str(path)),
}
"""Suffix of a file -> how it is read."""
