"""A user's own ranks or weights, from JSON or CSV, checked strictly: a mistyped name would go unnoticed. No torch.

JSON: `{"ranks": {"1": 4, "2": 2}}` or `{"weights": {...}}`. The keys are either numbers of blocks, from 1, or full
names of linears. CSV: two columns with a header, `block` or `module`, and `rank` or `weight`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gelora_cli.allocation.problem import Granularity
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import expand_home
from gelora_cli.core.messages import first_line, quote

Kind = Literal["ranks", "weights"]

LARGEST_FILE = 10_000_000
"""Bytes. The names of 100,000 linears take less."""
LARGEST_VALUE = 1e12
LONGEST_NUMBER = 100
"""Digits of a whole number in JSON."""
FORMS = 'JSON such as {"ranks": {"1": 4, "2": 2}}, or CSV with the columns block or module, and rank or weight'


@dataclass(frozen=True)
class FileEntry:
    """A block, by its number, or a linear, by its full name, with its rank or weight and where that stands."""

    key: str
    value: float
    where: str


@dataclass(frozen=True)
class RankFile:
    """What a file says.

    Attributes:
        path: the file as the user wrote it.
        kind: whether its values are ranks or weights.
        per: whether its keys are blocks or linears.
        entries: in the order of the file; each key once.
    """

    path: str
    kind: Kind
    per: Granularity
    entries: tuple[FileEntry, ...]

    def error(self, problem: str) -> GeloraError:
        """Return an error that names the file."""
        return GeloraError(f"method.path={self.path}: {problem}")

    def content(self) -> list[object]:
        """Return what it says, in an order of its own: two files of equal content are one."""
        return [self.kind, self.per, *sorted([entry.key, float(entry.value)] for entry in self.entries)]


def read_rank_file(path: str) -> RankFile:
    """Return the ranks or weights in a file.

    Raises:
        GeloraError: there is none, or it holds something else; the message names the line or field.
    """
    source = Path(expand_home(path))
    try:
        if not source.is_file():
            problem = "a directory" if source.is_dir() else "no such file"
            raise GeloraError(f"method.path={path}: {problem}; give {FORMS}")
        if source.stat().st_size > LARGEST_FILE:
            raise GeloraError(f"method.path={path}: more than {LARGEST_FILE:,} bytes; give {FORMS}")
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise GeloraError(f"method.path={path} can't be read: {first_line(error)}. Give {FORMS}") from error
    try:
        is_json = source.suffix.lower() != ".csv"
        kind, rows = _from_json(text) if is_json else _from_csv(text)
        return RankFile(path, kind, _per(rows), rows)
    except ValueError as error:
        raise GeloraError(f"method.path={path}: {error}") from error


def _from_json(text: str) -> tuple[Kind, tuple[FileEntry, ...]]:
    """Return the entries of a JSON file.

    Raises:
        ValueError: it has another form.
    """
    try:
        content = json.loads(
            text, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant, parse_int=_whole_number
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}; give {FORMS}") from error
    except RecursionError as error:
        raise ValueError(f"it is nested too deeply; give {FORMS}") from error
    if not isinstance(content, dict) or list(content) not in (["ranks"], ["weights"]):
        given = f"an object with {', '.join(map(quote, content))}" if isinstance(content, dict) else quote(content)
        raise ValueError(f'{given} given; accepted is an object with "ranks" or "weights" alone, as {FORMS}')
    kind: Kind = "ranks" if "ranks" in content else "weights"
    values = content[kind]
    if not isinstance(values, dict):
        raise ValueError(f'"{kind}" holds {quote(values)}; accepted is an object of names and numbers')
    entries = []
    for key, value in values.items():
        where = f'"{kind}", key {quote(key)}'
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{where}: {quote(value)} is no number")
        entries.append(FileEntry(key, _checked_value(value, kind, where), where))
    return kind, tuple(entries)


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object whose keys differ."""
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {quote(repeated)} stands there twice; give each once")
    return values


def _whole_number(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:  # Python's own words for thousands of digits name no fix
        raise ValueError(f"a number of {len(digits):,} digits; accepted is one from 0 to {LARGEST_VALUE:g}")
    return int(digits)


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is no finite number")


def _from_csv(text: str) -> tuple[Kind, tuple[FileEntry, ...]]:
    """Return the entries of a CSV file.

    Raises:
        ValueError: it has another form.
    """
    rows = _csv_rows(text)
    _, header = next(rows, (0, []))
    columns = [name.strip().lower() for name in header]
    key_names, value_names = (
        [n for n in columns if n in ("block", "module")],
        [n for n in columns if n in ("rank", "weight")],
    )
    if len(columns) != 2 or len(key_names) != 1 or len(value_names) != 1:
        raise ValueError(f"line 1: the columns are {', '.join(map(quote, header)) or 'none'}; give {FORMS}")
    kind: Kind = "ranks" if value_names == ["rank"] else "weights"
    entries: dict[str, FileEntry] = {}
    for line, row in rows:
        where = f"line {line}"
        if len(row) != 2:
            raise ValueError(f"{where}: {len(row)} values instead of 2")
        key, written = (cell.strip() for cell in (row if columns[0] in key_names else row[::-1]))
        if key in entries:
            raise ValueError(f"{where}: {quote(key)} stands there twice, first at {entries[key].where}; give it once")
        if (key_names == ["block"]) is not _is_number_of_block(key):
            raise ValueError(f"{where}: {quote(key)} is no {key_names[0]}; accepted is {_accepted_key(key_names[0])}")
        entries[key] = FileEntry(key, _checked_value(_parsed(written, where), kind, where), where)
    return kind, tuple(entries.values())


def _csv_rows(text: str) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield the rows that are not empty, with the numbers of their lines."""
    reader = csv.reader(text.splitlines(), strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}; give {FORMS}") from error


def _parsed(written: str, where: str) -> float:
    try:
        if "_" in written:  # Python reads 1_0 as 10, a spreadsheet does not
            raise ValueError
        return float(written)
    except ValueError as error:
        raise ValueError(f"{where}: {quote(written)} is no number") from error


def _checked_value(value: float, kind: Kind, where: str) -> float:
    """Return a value that can be a rank or a weight.

    Raises:
        ValueError: it can't.
    """
    if not 0 <= value <= LARGEST_VALUE:  # NaN is in no interval
        raise ValueError(f"{where}: {quote(value)} is no number from 0 to {LARGEST_VALUE:g}")
    if kind == "ranks" and value != int(value):
        raise ValueError(f"{where}: rank {value} is no whole number; to share out units in proportion, give weights")
    return value


def _per(entries: Iterable[FileEntry]) -> Granularity:
    """Return whether the keys are blocks or linears.

    Raises:
        ValueError: they are mixed, or there are none, or all values are 0.
    """
    rows = list(entries)
    if not any(entry.value for entry in rows):
        raise ValueError(f"{'all values are 0' if rows else 'it names no block and no linear'}; give {FORMS}")
    blocks = [entry for entry in rows if _is_number_of_block(entry.key)]
    if blocks and len(blocks) < len(rows):
        other = next(entry for entry in rows if entry not in blocks)
        raise ValueError(
            f"{other.where} is no number of a block, as that of {blocks[0].where} is; give {_accepted_key('block')} "
            f"throughout, or {_accepted_key('module')}"
        )
    return "block" if blocks else "module"


def _is_number_of_block(key: str) -> bool:
    return key.isascii() and key.isdigit()


def _accepted_key(name: str) -> str:
    return "numbers of blocks from 1 on" if name == "block" else "full names of linears"
