"""Files of the user's own as columns: CSV, TSV, JSON lines, parquet, or text with a line an example."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.messages import has_lone_surrogate, quote, quote_path, suggest
from gelora_cli.data.delimited import Dialect, read_delimited
from gelora_cli.data.json_input import parse_json, refuse_repeated
from gelora_cli.data.parquet import read_parquet
from gelora_cli.data.paths import is_file
from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.splits import TextSplit
from gelora_cli.data.squad import read_squad_json


@dataclass(frozen=True)
class Table:
    """The columns of a file that are used, n values each, as they were read; `names` are those of all its columns.

    `numbers` are the lines or rows of `name` that the values come from. `classes` are the labels of a column in the
    order in which the file itself names them. `note` says what a user should know of how the file was read, by the
    `separator` if it is delimited.
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

    def where(self, row: int) -> str:
        """Where a row stands, for messages."""
        return f"{self.name}, {self.unit} {self.numbers[row]}"

    def texts(self, column: str) -> list[str]:
        """A column of texts; what is missing is the empty text.

        Raises:
            GeloraError: a value that is no text.
        """
        texts = ["" if value is None else value for value in self.columns[column]]
        for row, text in enumerate(texts):
            if not isinstance(text, str) or has_lone_surrogate(text):
                raise GeloraError(f"{self.where(row)}: no text in {column}, but {quote(text)}; give strings of UTF-8")
        return texts

    def refuse_empty_texts(self, columns: Iterable[Sequence[str]], fix: str) -> None:
        """Refuse texts without anything but blanks.

        Raises:
            GeloraError: where the first of them is.
        """
        empty = sorted({row for column in columns for row, text in enumerate(column) if not text.strip()})
        if empty:
            raise GeloraError(f"{self.where(empty[0])}: an empty text, one of {len(empty)}; {fix}")


@dataclass(frozen=True)
class Request:
    """What is read of a file: the columns `texts`, `others` (labels) and `group`; a CSV file is read by `dialect`."""

    texts: Sequence[str]
    others: Sequence[str] = ()
    dialect: Dialect = field(default_factory=Dialect)
    group: str | None = None

    @property
    def wanted(self) -> tuple[str, ...]:
        """All columns that are read, each once."""
        return tuple(dict.fromkeys((*self.texts, *self.others, *([self.group] if self.group else []))))


def read_table(path: Path, request: Request, *, key: str, optional: Sequence[str] = ()) -> Table:
    """Read the requested columns of a file, by its suffix (`READERS`); the file may lack the `optional` ones.

    A text file has the columns of texts alone, with a tab between them. `key` is what the user named the file by.

    Raises:
        GeloraError: no such file, an unknown suffix, not UTF-8, a damaged line, no rows, or a column that is missing.
    """
    if not is_file(path):
        raise GeloraError(f"{key}={quote_path(path)}: no such file; accepted: {', '.join(READERS)}")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise GeloraError(f"{key}={path}: unknown kind of file; accepted by suffix: {', '.join(READERS)}")
    table = reader(path, request)
    if not len(table):
        raise GeloraError(f"{key}={path}: no rows; give a file with at least one")
    for name in request.wanted:
        if name not in table.columns and name not in optional:
            raise GeloraError(f"{key}={path}: no column {name}; {_missing(name, table, request, key)}")
    return table


def _missing(name: str, table: Table, request: Request, key: str) -> str:
    if Path(table.name).suffix.lower() == ".txt":
        return "a text file has no labels: it can be profiled; to learn from give a table with a column of them"
    if key == "file":
        fix = "Name it so in the file: those are the columns that the run was trained on"
    elif name in request.texts:
        fix = "Name it by task.columns=[...]"
    else:
        fix = f"Name it by task.{'group' if name == request.group else 'label'}=..."
    if table.separator:
        fix += f"; columns are separated by {table.separator} here, another is given by data.separator=NAME"
    return f"{suggest(name, table.names)}. {fix}"


def joined(tables: Sequence[Table], name: str) -> Table:
    """Return the rows of several files of one data set, counted through.

    Raises:
        GeloraError: files with other columns.
    """
    columns = list(tables[0].columns)
    for table in tables:
        if list(table.columns) != columns:
            raise GeloraError(f"{table.name} has other columns than {tables[0].name}: {', '.join(table.columns)}")
    rows = sum(map(len, tables))
    values = {column: [value for table in tables for value in table.columns[column]] for column in columns}
    classes = tables[0].classes if all(table.classes == tables[0].classes for table in tables) else {}
    notes = "; ".join(f"{table.name}: {table.note}" for table in tables if table.note)
    return Table(name, values, range(1, rows + 1), "row", classes, tables[0].names, notes)


def read_rows(task: TaskConfig, name: str, dialect: Dialect | None = None) -> TextSplit:
    """Return texts for `gelora predict`: a file (columns by the task's names), or lines of standard input (`-`).

    A line of a pair task holds its two texts with a tab between them. A CSV file is read by `dialect`.

    Raises:
        GeloraError: what `read_table` refuses, or a row without text.
    """
    if name == "-":
        table = _lines(_standard_input(), task.columns, STANDARD_INPUT)
    else:
        request = Request(task.columns, dialect=dialect or Dialect())
        table = read_table(Path(name).expanduser(), request, key="file")
        if table.note:
            LOGGER.warning("%s: %s", name, table.note)
    if not len(table):
        fix = "give lines to read, file=FILE or split=NAME" if name == "-" else "give at least one line"
        raise GeloraError(f"{table.name}: no rows; {fix}")
    columns = tuple(table.texts(column) for column in task.columns)
    table.refuse_empty_texts(columns, "remove those rows")
    return TextSplit("input", np.arange(len(table), dtype=np.int64), columns, None)


def read_questions(name: str) -> QuestionSplit:
    """Questions of a file in SQuAD's JSON format (`-`: standard input).

    Raises:
        GeloraError: no such file, or not in that format.
    """
    if name == "-":
        return read_squad_json(_standard_input(), STANDARD_INPUT)
    path = Path(name).expanduser()
    if not is_file(path):
        raise GeloraError(
            f"file={quote_path(name)}: no such file; a JSON file in SQuAD's format is accepted, or - for standard input"
        )
    return read_squad_json(read_text(path), name)


STANDARD_INPUT = "standard input"


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file.

    Raises:
        GeloraError: it can't be read, or is not UTF-8, with the line.
    """
    try:
        return _decoded(path.read_bytes(), str(path))
    except OSError as error:
        raise GeloraError(f"{path} can't be read: {error}") from error


def _standard_input() -> str:
    if sys.stdin is None:
        raise GeloraError("standard input is closed: give file=FILE, or lines to read, as in: echo TEXT | gelora ...")
    return _decoded(sys.stdin.buffer.read(), STANDARD_INPUT)


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise GeloraError(f"{name}, line {line}: not UTF-8 text ({error.reason}); save it as UTF-8") from error


def _read_csv(path: Path, request: Request) -> Table:
    """Read rows below a line with the columns' names; every value is a string, whatever it looks like."""
    usual = "tab" if path.suffix.lower() == ".tsv" else "comma"
    found = read_delimited(read_text(path), str(path), request.wanted, request.dialect, usual=usual)
    note = found.note
    if found.separator != usual:
        note = f"columns separated by {found.separator}" + (f"; {note}" if note else "")
    columns: dict[str, list[Any]] = dict(found.columns)
    return Table(str(path), columns, found.lines, names=found.names, note=note, separator=found.separator)


def _read_jsonl(path: Path, request: Request) -> Table:
    """Read an object a line; blank lines are passed over, and what an object lacks is None."""
    numbers: list[int] = []
    names: dict[str, None] = {}
    values: dict[str, list[Any]] = {name: [] for name in request.wanted}
    for number, line in enumerate(io.StringIO(read_text(path), newline=""), 1):
        if line.strip():
            row = _parse(line, f"{path}, line {number}", request.wanted)
            names |= dict.fromkeys(row)
            numbers.append(number)
            for name, column in values.items():
                column.append(row.get(name))
    columns = {name: column for name, column in values.items() if name in names}
    return Table(str(path), columns, numbers, names=list(names))


def _parse(line: str, where: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    row = parse_json(line, where, "one object a line is accepted")
    if not isinstance(row, dict):
        raise GeloraError(f"{where}: {line.strip()[:40]} is no object; one object a line is accepted")
    refuse_repeated(row, wanted, where)
    return row


def _read_parquet(path: Path, request: Request) -> Table:
    """Read the wanted columns; codes of class labels that the file has names for become these names, and -1 none."""
    found = read_parquet([path], request.wanted)
    columns = {name: list(found.values(name)) for name in found.columns}
    for name, labels in found.classes.items():
        known: dict[int, str | None] = {-1: None, **dict(enumerate(labels))}
        columns[name] = [known.get(value, value) if isinstance(value, int) else value for value in columns[name]]
    return Table(str(path), columns, range(1, found.rows + 1), "row", found.classes, found.names)


def _read_lines(path: Path, request: Request) -> Table:
    return _lines(read_text(path), request.texts, str(path))


def _lines(text: str, texts: Sequence[str], name: str) -> Table:
    """Return a text a line; of pairs two, with a tab between them."""
    lines = [line.rstrip("\r\n") for line in io.StringIO(text, newline="")]
    rows = [line.split("\t") if len(texts) > 1 else [line] for line in lines]
    for number, row in enumerate(rows, 1):
        if len(row) != len(texts):
            raise GeloraError(f"{name}, line {number}: {quote(lines[number - 1])} is not {' TAB '.join(texts)}")
    columns = {column: [row[index] for row in rows] for index, column in enumerate(texts)}
    return Table(name, columns, range(1, len(rows) + 1), names=list(columns))


READERS: dict[str, Callable[[Path, Request], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
    ".txt": _read_lines,
}
