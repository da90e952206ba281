"""Texts of the user's own for `gelora predict`: a file or standard input."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gelora_cli.artifacts import GeloraError
from gelora_cli.data.splits import TextSplit
from gelora_cli.data.squad import QuestionSplit, read_squad_json


def read_rows(task: Any, name: str) -> TextSplit:
    """Rows of `.jsonl`, `.csv` or `.tsv` (columns by the task's names) or lines of text (`-`: standard input).

    A line of a pair task holds its two texts with a tab between them.

    Raises:
        GeloraError: no such file, a missing column, a line without text.
    """
    path = Path(name).expanduser()
    if name == "-":
        rows = _lines(sys.stdin, task.columns, "standard input")
    elif not path.is_file():
        raise GeloraError(f"file={name}: no such file; accepted: .jsonl, .csv, .tsv, .txt, or - for standard input")
    else:
        rows = _read(io.StringIO(_text(path, name), newline=""), path.suffix, task.columns, name)
    if not rows:
        raise GeloraError(f"{name}: no rows; give at least one line")
    columns = tuple([row[index] for row in rows] for index in range(len(task.columns)))
    return TextSplit("input", np.arange(len(rows), dtype=np.int64), columns, None)


def read_questions(name: str) -> QuestionSplit:
    """Questions of a file in SQuAD's JSON format (`-`: standard input).

    Raises:
        GeloraError: no such file, or not in that format.
    """
    if name == "-":
        return read_squad_json(sys.stdin.read(), "standard input")
    path = Path(name).expanduser()
    if not path.is_file():
        raise GeloraError(
            f"file={name}: no such file; a JSON file in SQuAD's format is accepted, or - for standard input"
        )
    return read_squad_json(_text(path, name), name)


def _text(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise GeloraError(f"{name} is not UTF-8 text: {error}; save it as UTF-8") from error


def _read(file: Iterable[str], suffix: str, columns: list[str], name: str) -> list[list[str]]:
    if suffix == ".jsonl":
        return [_named(_parse(line, number, name), columns, number, name) for number, line in enumerate(file, 1)]
    if suffix in (".csv", ".tsv"):
        reader = csv.DictReader(file, delimiter="\t" if suffix == ".tsv" else ",")
        return [_named(row, columns, number, name) for number, row in enumerate(reader, 2)]
    return _lines(file, columns, name)


def _parse(line: str, number: int, name: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise GeloraError(f"{name}, line {number}: not JSON ({error}); one object a line is accepted") from error


def _named(row: Any, columns: list[str], number: int, name: str) -> list[str]:
    missing = [column for column in columns if not isinstance(row, dict) or not isinstance(row.get(column), str)]
    if missing:
        given = ", ".join(map(str, row)) if isinstance(row, dict) else repr(row)
        raise GeloraError(f"{name}, line {number}: no text in {', '.join(missing)}; the row has {given}")
    return [row[column] for column in columns]


def _lines(file: Iterable[str], columns: list[str], name: str) -> list[list[str]]:
    rows = [line.rstrip("\r\n").split("\t") if len(columns) > 1 else [line.rstrip("\r\n")] for line in file]
    for number, row in enumerate(rows, 1):
        if len(row) != len(columns) or not any(text.strip() for text in row):
            wanted = " TAB ".join(columns)
            raise GeloraError(f"{name}, line {number}: {row!r} is not {wanted}")
    return rows
