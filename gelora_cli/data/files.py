"""Files of the user's own as columns: CSV, TSV, JSON lines, parquet, or text with a line an example."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gelora_cli.artifacts import GeloraError
from gelora_cli.config import nearest
from gelora_cli.data.splits import TextSplit
from gelora_cli.data.squad import QuestionSplit, read_squad_json


@dataclass(frozen=True)
class Table:
    """Columns of n values each, as they were read; `numbers` are the lines or rows of `name` that they come from.

    `classes` are the labels of a column in the order in which the file itself names them.
    """

    name: str
    columns: dict[str, list[Any]]
    numbers: Sequence[int]
    unit: str = "line"
    classes: dict[str, list[str]] = field(default_factory=dict)

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
            if not isinstance(text, str) or _is_broken(text):
                raise GeloraError(f"{self.where(row)}: no text in {column}, but {text!r}; give strings of UTF-8")
        return texts

    def refuse_empty(self, columns: Iterable[Sequence[str]], fix: str) -> None:
        """Refuse texts without anything but blanks.

        Raises:
            GeloraError: where the first of them is.
        """
        empty = sorted({row for column in columns for row, text in enumerate(column) if not text.strip()})
        if empty:
            raise GeloraError(f"{self.where(empty[0])}: an empty text, one of {len(empty)}; {fix}")


def _is_broken(text: str) -> bool:
    """Whether it holds half of a surrogate pair, which JSON can write and no tokenizer reads."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def read_table(
    path: Path, texts: Sequence[str], label: str | None = None, *, key: str, unlabelled: bool = False
) -> Table:
    """Columns of a file, by its suffix (`READERS`): the named texts, and the label, which `unlabelled` files may lack.

    A text file has the columns of `texts` alone, with a tab between them. `key` is what the user named the file by.

    Raises:
        GeloraError: no such file, an unknown suffix, not UTF-8, a damaged line, no rows, or a column that is missing.
    """
    if not path.is_file():
        raise GeloraError(f"{key}={path}: no such file; accepted: {', '.join(READERS)}")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise GeloraError(f"{key}={path}: unknown kind of file; accepted by suffix: {', '.join(READERS)}")
    table = reader(path, texts)
    if not len(table):
        raise GeloraError(f"{key}={path}: no rows; give a file with at least one")
    wanted = [*texts, *([label] if label and not (unlabelled and label not in table.columns) else [])]
    for name in wanted:
        if name not in table.columns:
            raise GeloraError(f"{key}={path}: no column {name}; {_missing(name, table.columns, name in texts, path)}")
    return replace(table, columns={name: table.columns[name] for name in wanted})


def _missing(name: str, columns: Iterable[str], is_text: bool, path: Path) -> str:
    if path.suffix.lower() == ".txt":
        return "a text file has no labels: it can be profiled; to learn from give a table with a column of them"
    return f"{nearest(name, columns)}. Name it by {'task.columns=[...]' if is_text else 'task.label=...'}"


def joined(tables: Sequence[Table], name: str) -> Table:
    """The rows of several files of one data set, counted through.

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
    return Table(name, values, range(1, rows + 1), "row", classes)


def read_rows(task: Any, name: str) -> TextSplit:
    """Texts for `gelora predict`: a file (columns by the task's names), or lines of standard input (`-`).

    A line of a pair task holds its two texts with a tab between them.

    Raises:
        GeloraError: what `read_table` refuses, or a row without text.
    """
    if name == "-":
        table = _lines(_standard_input(), task.columns, STANDARD_INPUT)
    else:
        table = read_table(Path(name).expanduser(), task.columns, key="file")
    if not len(table):
        raise GeloraError(f"{table.name}: no rows; give at least one line")
    columns = tuple(table.texts(column) for column in task.columns)
    table.refuse_empty(columns, "remove those rows")
    return TextSplit("input", np.arange(len(table), dtype=np.int64), columns, None)


def read_questions(name: str) -> QuestionSplit:
    """Questions of a file in SQuAD's JSON format (`-`: standard input).

    Raises:
        GeloraError: no such file, or not in that format.
    """
    if name == "-":
        return read_squad_json(_standard_input(), STANDARD_INPUT)
    path = Path(name).expanduser()
    if not path.is_file():
        raise GeloraError(
            f"file={name}: no such file; a JSON file in SQuAD's format is accepted, or - for standard input"
        )
    return read_squad_json(_text(path), name)


STANDARD_INPUT = "standard input"


def _text(path: Path) -> str:
    try:
        return _decoded(path.read_bytes(), str(path))
    except OSError as error:
        raise GeloraError(f"{path} can't be read: {error}") from error


def _standard_input() -> str:
    return _decoded(sys.stdin.buffer.read(), STANDARD_INPUT)


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise GeloraError(f"{name}, line {line}: not UTF-8 text ({error.reason}); save it as UTF-8") from error


@contextmanager
def _fields_up_to(characters: int) -> Iterator[None]:
    """Let the csv module, which refuses fields of more than 131,072 characters, take these."""
    before = csv.field_size_limit(characters)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_csv(path: Path, _: Sequence[str]) -> Table:
    """Rows behind a line with the columns' names; every value is a string, whatever it looks like."""
    text = _text(path)
    with _fields_up_to(len(text)):
        return _parse_csv(text, path)


def _parse_csv(text: str, path: Path) -> Table:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    numbers: list[int] = []
    try:
        header = next(reader, [])
        while True:
            number = reader.line_num + 1
            row = next(reader, None)
            if row is None:
                break
            if row:
                _check_width(row, header, f"{path}, line {number}")
                rows.append(row)
                numbers.append(number)
    except csv.Error as error:
        raise GeloraError(f"{path}, line {reader.line_num}: {error}; quote texts as CSV does") from error
    if len(set(header)) < len(header):
        raise GeloraError(f"{path}: two columns of one name among {', '.join(header)}; rename one")
    return Table(str(path), {name: [row[index] for row in rows] for index, name in enumerate(header)}, numbers)


def _check_width(row: Sequence[str], header: Sequence[str], where: str) -> None:
    if len(row) != len(header):
        raise GeloraError(
            f"{where}: {len(row)} fields where the first line names {len(header)} ({', '.join(header)}); "
            'put texts that hold the separator in "quotes"'
        )


def _read_jsonl(path: Path, _: Sequence[str]) -> Table:
    """An object a line; blank lines are passed over, and what an object lacks is None."""
    numbered = [(n, line) for n, line in enumerate(io.StringIO(_text(path), newline=""), 1) if line.strip()]
    rows = [_parse(line, f"{path}, line {number}") for number, line in numbered]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return Table(str(path), columns, [number for number, _ in numbered])


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise GeloraError(f"{where}: not JSON ({error}); one object a line is accepted") from error
    if not isinstance(row, dict):
        raise GeloraError(f"{where}: {line.strip()[:40]} is no object; one object a line is accepted")
    return row


def _read_parquet(path: Path, _: Sequence[str]) -> Table:
    """All columns; class labels that the file has names for are given by name, and -1 is none."""
    import pyarrow
    import pyarrow.parquet
    from datasets import Features

    try:
        table = pyarrow.parquet.read_table(path)
        described = b"huggingface" in (table.schema.metadata or {})
        features = Features.from_arrow_schema(table.schema) if described else {}
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise GeloraError(f"{path} can't be read as parquet: {error}. Write the file again.") from error
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    classes = {name: list(feature.names) for name, feature in features.items() if getattr(feature, "names", None)}
    for name, labels in classes.items():
        known = dict(enumerate(labels))
        columns[name] = [known.get(code) for code in columns[name]]
    return Table(str(path), columns, range(1, table.num_rows + 1), "row", classes)


def _read_lines(path: Path, texts: Sequence[str]) -> Table:
    return _lines(_text(path), texts, str(path))


def _lines(text: str, texts: Sequence[str], name: str) -> Table:
    """A text a line; of pairs two, with a tab between them."""
    lines = [line.rstrip("\r\n") for line in io.StringIO(text, newline="")]
    rows = [line.split("\t") if len(texts) > 1 else [line] for line in lines]
    for number, row in enumerate(rows, 1):
        if len(row) != len(texts):
            raise GeloraError(f"{name}, line {number}: {lines[number - 1]!r} is not {' TAB '.join(texts)}")
    columns = {column: [row[index] for row in rows] for index, column in enumerate(texts)}
    return Table(name, columns, range(1, len(rows) + 1))


READERS: dict[str, Callable[[Path, Sequence[str]], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
    ".txt": _read_lines,
}
