"""Labels of the user's own data by name: which values are one label, and which are none."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import has_lone_surrogate, join_names, quote, quote_name, suggest
from gelora_cli.data.files import Table

MISSING_MARKS = frozenset(
    ("nan", "-nan", "na", "n/a", "null", "none", "<na>", "#n/a", "#na", "#n/a n/a", "nat", "1.#ind", "1.#qnan")
)
"""What pandas, spreadsheets and databases write where a value is missing, in lower case."""

LONGEST_LABEL = 200
"""Characters of a label's name."""

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)


def is_missing(value: object, known: Sequence[str] = ()) -> bool:
    """Say whether a value is no label: empty, NaN, or a mark of a missing value that is not among the known labels."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    name = str(value).strip() if isinstance(value, str) else "a value"
    return name == "" or (name.casefold() in MISSING_MARKS and name not in known)


def infer_label_names(table: Table, column: str) -> list[str]:
    """Return the labels of a column: in the order in which the file names them, numbers by value, others by name.

    Raises:
        GeloraError: a missing label, about as many labels as rows, or labels that differ in case alone.
    """
    names = read_row_labels(table, column, ())
    counts = Counter(names)
    if len(counts) > max(2, len(table) // 2):
        raise GeloraError(
            f"{table.name}: {column} has {len(counts)} different values in {len(table)} rows, too many for labels; "
            "if they are scores give task.kind=regression, if another column holds the labels task.label=..."
        )
    if named := [name.strip() for name in table.classes.get(column, ())]:
        return [name for name in named if name in counts]
    _refuse_variants(table, column, names, counts)
    _refuse_truths_beside_numbers(table, column, names, counts)
    numbers = all(re.fullmatch(r"-?\d+", name, re.ASCII) for name in counts)
    return sorted(counts, key=lambda name: (Decimal(name) if numbers else 0, name))


def classes(table: Table, task: TaskConfig) -> NDArray[np.int64]:
    """Return labels as positions in `task.labels`, (n,).

    Raises:
        GeloraError: a missing label, or one that is not among the task's.
    """
    assert task.label is not None
    index = {name: position for position, name in enumerate(task.labels)}
    names = read_row_labels(table, task.label, task.labels)
    for row, name in enumerate(names):
        if name not in index:
            raise GeloraError(
                f"{table.where(row)}: label {quote_name(name)} is not among those of the training rows or of "
                f"task.labels; {suggest(name, task.labels)}; correct it, or name all of them: task.labels=[...]"
            )
    return np.array([index[name] for name in names], dtype=np.int64)


def read_row_labels(table: Table, column: str, known: Sequence[str]) -> list[str]:
    """Return the label of each row by name: strings without blanks around them, other values as they are written.

    Equal numbers are one label, under the name that is `known`, else under the shortest one in the column.

    Raises:
        GeloraError: a label is missing, or is no text.
    """
    known = [*known, *(name.strip() for name in table.classes.get(column, ()))]
    values = table.columns[column]
    missing = [row for row, value in enumerate(values) if is_missing(value, known)]
    if missing:
        raise GeloraError(_missing_label(table, column, missing))
    names = []
    for row, value in enumerate(values):
        name = str(value).strip() if not isinstance(value, list | dict | bytes) else ""
        if not name or has_lone_surrogate(name):
            raise GeloraError(f"{table.where(row)}: no label in {column}, but {quote(value)}; give a text or a number")
        if len(name) > LONGEST_LABEL:
            raise GeloraError(
                f"{table.where(row)}: the label in {column} has {len(name):,} characters ({quote(name)}); at most "
                f"{LONGEST_LABEL} are accepted. If another column holds the labels name it by task.label=..."
            )
        names.append(name)
    spelled = _one_name_per_number(dict.fromkeys(names), known)
    return [spelled.get(name, name) for name in names]


def describe_respelled(table: Table, task: TaskConfig) -> str:
    """Return which spellings of the rows' labels were taken for a label of another spelling, for the log."""
    assert task.label is not None
    written = dict.fromkeys(str(value).strip() for value in table.columns[task.label])
    others = [name for name in written if name not in task.labels]
    return f"equal numbers are one label: {join_names(others)} taken for {join_names(task.labels)}" if others else ""


def _missing_label(table: Table, column: str, rows: Sequence[int]) -> str:
    value = table.columns[column][rows[0]]
    count = f"one of {len(rows)} such rows; give one, or remove the row"
    if not isinstance(value, str) or not value.strip():
        return f"{table.where(rows[0])}: no label in {column}, {count}"
    return (
        f"{table.where(rows[0])}: no label in {column}, but {quote(value)}, the mark of a missing value, {count}; "
        "if it is a label name all of them: task.labels=[...]"
    )


def _one_name_per_number(names: dict[str, None], known: Sequence[str]) -> dict[str, str]:
    """Return the names that are another spelling of a number, and the one name that stands for it."""
    spellings: dict[Decimal, list[str]] = {}
    for name in dict.fromkeys([*known, *names]):
        if (number := _number(name)) is not None:
            spellings.setdefault(number, []).append(name)
    found: dict[str, str] = {}
    for same in spellings.values():
        chosen = min(same, key=lambda name: (name not in known, len(name), name))
        found |= {name: chosen for name in same if name not in known}
    return found


def _number(name: str) -> Decimal | None:
    if not NUMBER.fullmatch(name):
        return None
    try:
        return Decimal(name)
    except InvalidOperation:
        return None


def _refuse_variants(table: Table, column: str, names: Sequence[str], counts: Counter[str]) -> None:
    """Refuse labels that differ in case, width, blanks or invisible characters alone: they are most likely one."""
    alike: dict[str, list[str]] = {}
    for name in counts:
        alike.setdefault(_folded(name), []).append(name)
    for variants in alike.values():
        if len(variants) > 1:
            rare, common = sorted(variants, key=lambda name: (counts[name], names.index(name)))[:: len(variants) - 1]
            row = names.index(rare)
            raise GeloraError(
                f"{table.where(row)}: label {quote(rare)} ({counts[rare]} rows) differs from {quote(common)} "
                f"({counts[common]} rows) in case or invisible characters alone; write one of them in {column}, or if "
                "they are two labels name all of them: task.labels=[...]"
            )


def _refuse_truths_beside_numbers(table: Table, column: str, names: Sequence[str], counts: Counter[str]) -> None:
    """Refuse `true` or `false` beside `1` or `0`: parts of the rows were written in another way."""
    truths = [name for name in counts if name.casefold() in ("true", "false")]
    numbers = [name for name in counts if _number(name) in (0, 1)]
    if truths and numbers:
        others = min(truths, numbers, key=lambda group: sum(counts[name] for name in group))
        row = next(row for row, name in enumerate(names) if name in others)
        raise GeloraError(
            f"{table.where(row)}: label {names[row]}, and {join_names(truths)} stand beside {join_names(numbers)} in "
            f"{column}; write them in one way, or if they are different labels name all of them: task.labels=[...]"
        )


def _folded(name: str) -> str:
    visible = "".join(character for character in name if unicodedata.category(character) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", visible).casefold().split())
