"""Read several labels per row: a column of lists, one of texts such as `toxic|insult`, or a 0/1 column per label.

Letters: n rows, C labels. An empty list, or an empty text, is a row without any label. A missing value (null, NaN,
`NA`) says nothing about the labels of its row, and is refused as it is where every row has one label [ours].
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_names, quote, quote_name, suggest
from gelora_cli.data.files import Table, describe_count
from gelora_cli.data.labels import describe_respelled, is_missing, order_label_names, read_row_labels

SEPARATORS = {"pipe": "|", "semicolon": ";", "comma": ",", "tab": "\t", "space": " "}
"""Name of a separator of labels, as `task.label_separator` has it -> the character."""
DETECTED = ("pipe", "semicolon", "comma")
"""Separators that are looked for; a blank or a tab may be part of a label."""

LIST_TEXT = re.compile(r"\s*\[(.*)\]\s*", re.DOTALL)
LIST_ITEM = re.compile(r"""\s*(?:"([^"\\]*)"|'([^'\\]*)'|([^\s"',\[\]][^"',\[\]]*?))\s*(?:,|$)""")
"""An item of a list that was written as text, by JSON or by Python, and the comma behind it."""

MARKS = {"0", "1", "0.0", "1.0", "False", "True"}
"""What lists hold that have a mark for every label, as text."""
CHECKED, UNCHECKED = ("1", "1.0", "true"), ("0", "0.0", "false")
"""What a column of one label may hold, in lower case."""


@dataclass(frozen=True)
class _Entries:
    """The labels of all rows, one after the other.

    Attributes:
        table: a row for each label, with the line of the row that it is of.
        rows: the row of each label, (labels of all rows,).
        note: how texts were split.
    """

    table: Table
    rows: list[int]
    note: str = ""


def infer_set_names(table: Table, task: TaskConfig) -> list[str]:
    """Return the names of the labels: those of their columns, else the different labels of the column of sets.

    For the order of the latter see `infer_label_names`.

    Raises:
        GeloraError: a cell that holds no labels, more different labels than the rows can teach, or two that look like
            one.
    """
    if task.label_columns:
        return [*task.label_columns]
    assert task.label is not None
    entries = _entries(table, task)
    names = read_row_labels(entries.table, task.label, ())
    _refuse_one_checked_column(table, task.label, names)
    different = len(set(names))
    # Texts in the place of labels would make one label of almost every row.
    if different > max(2, len(table) // 2):
        raise GeloraError(
            f"{table.name}: {task.label} has {different:,} different labels in {len(table):,} rows, too many to learn. "
            "If another column holds the labels give task.label=COLUMN; if the labels are separated in another way "
            "give task.label_separator=NAME"
        )
    return order_label_names(entries.table, task.label, names)


def _refuse_one_checked_column(table: Table, column: str, names: Sequence[str]) -> None:
    """Refuse a column of 0 and 1 alone, which says whether a row has *one* label, as a column of label names."""
    one_each = len(names) == len(table) and not any(isinstance(value, list) for value in table.columns[column])
    if one_each and {name.casefold() for name in names} in ({"0", "1"}, {"0.0", "1.0"}, {"false", "true"}):
        raise GeloraError(
            f"{table.name}: {column} holds nothing but {join_names(sorted(set(names)))}. If it says whether a row has "
            f"the label {quote_name(column)} give task.label_columns=[{column}], with those of the other labels, in "
            "place of task.label; if these are names of labels name them: task.labels=[...]"
        )


def label_sets(table: Table, task: TaskConfig) -> tuple[NDArray[np.float32], str]:
    """Return which of `task.labels` each row has, (n, C), 1 for a label that it has, and a note on how they were read.

    Raises:
        GeloraError: a missing value, a value that is no label, or a label that is not one of the task's.
    """
    if task.label_columns:
        columns = [_checked_column(table, name) for name in task.label_columns]
        return np.array(columns, np.float32).T.copy(), ""
    assert task.label is not None
    entries = _entries(table, task)
    names = read_row_labels(entries.table, task.label, task.labels)
    position = {name: index for index, name in enumerate(task.labels)}
    sets = np.zeros((len(table), len(task.labels)), np.float32)
    for entry, (row, name) in enumerate(zip(entries.rows, names, strict=True)):
        if name not in position:
            raise GeloraError(
                f"{entries.table.location(entry)}: label {quote_name(name)} is not among those of the training rows or "
                f"of task.labels; {suggest(name, task.labels)}; correct it, or name all of them: task.labels=[...]"
            )
        sets[row, position[name]] = 1
    notes = [note for note in (entries.note, describe_respelled(entries.table, task)) if note]
    return sets, "; ".join(notes)


def are_unlabelled(table: Table, columns: Sequence[str]) -> bool:
    """Return whether the columns of labels hold nothing at all, as those of an unlabelled test split do.

    Empty, missing and -1, which the hub and Jigsaw's test rows have, count as nothing.
    """
    for column in columns:
        for value in table.columns.get(column, ()):
            if not (is_missing(value) or value in (-1, "-1", []) or (isinstance(value, str) and value.strip() == "[]")):
                return False
    return True


def describe_unseen(sets: NDArray[np.float32], names: Sequence[str]) -> str:
    """Return which labels none of the training rows (n, C) has, for the log; empty if every label has one."""
    unseen = [name for name, count in zip(names, sets.sum(0).tolist(), strict=True) if not count]
    return f"no row has the label {join_names(unseen)}, which can't be learnt" if unseen else ""


def _checked_column(table: Table, column: str) -> list[int]:
    """Return 0 or 1 for each row of a column of one label, (n,).

    Raises:
        GeloraError: a value is neither.
    """
    checked = []
    for row, value in enumerate(table.columns[column]):
        text = str(value).strip().casefold() if isinstance(value, str | int | float) else ""
        if text not in (*CHECKED, *UNCHECKED):
            raise GeloraError(
                f"{table.location(row)}: {quote_name(column)} is {quote(value)}, but 0 or 1 (or false or true) is "
                f"needed in every column of task.label_columns; correct it, or remove the row"
            )
        checked.append(int(text in CHECKED))
    return checked


def _entries(table: Table, task: TaskConfig) -> _Entries:
    """Return the labels of all rows, one after the other, as they are written.

    Raises:
        GeloraError: a cell is missing or holds something else, or it isn't clear how texts are separated.
    """
    column = task.label or ""
    cells = table.columns[column]
    note = ""
    if any(isinstance(cell, list) for cell in cells):
        _refuse_cells(table, column, list, "a list, as other rows have, and [] for no label")
        lists: list[list[Any]] = cells
    else:
        _refuse_cells(table, column, str, "a list or a text of labels, empty for no label")
        known = [*task.labels, *table.classes.get(column, ())]
        _refuse_unreadable_lists(table, column, known)
        separator, note = _separator(table, task, known)
        lists = [_split(cell, separator) for cell in cells]
    _refuse_marks(table, column, lists)
    rows = [row for row, labels in enumerate(lists) for _ in labels]
    values: list[Any] = []
    for labels in lists:
        values += labels
    flat = replace(table, columns={column: values}, numbers=[table.numbers[row] for row in rows])
    return _Entries(flat, rows, note)


def _refuse_cells(table: Table, column: str, accepted: type, description: str) -> None:
    """Refuse cells that are not of a type; numbers are accepted beside texts, as one label each.

    Raises:
        GeloraError: there are such cells; the message names the first.
    """
    types = (str, int, float) if accepted is str else (accepted,)
    wrong = []
    for row, cell in enumerate(table.columns[column]):
        is_nan = isinstance(cell, float) and math.isnan(cell)
        if is_nan or not isinstance(cell, types):
            wrong.append(row)
    if not wrong:
        return
    cell = table.columns[column][wrong[0]]
    is_null = is_missing(cell)
    reason = "is missing, which doesn't say that the row has no label" if is_null else f"is {quote(cell)}"
    raise GeloraError(
        f"{table.location(wrong[0])}: {quote_name(column)} {reason}{describe_count(len(wrong))}; give {description}, "
        "or remove the row"
    )


def _refuse_marks(table: Table, column: str, lists: Sequence[Sequence[Any]]) -> None:
    """Refuse lists that mark each of C labels by 0 or 1, which would be read as the labels `0` and `1`.

    Raises:
        GeloraError: all lists have one length and hold nothing else, and one repeats a value, as no set of labels does.
    """
    if len({len(labels) for labels in lists}) != 1 or not {str(value) for value in chain.from_iterable(lists)} <= MARKS:
        return
    repeating = next((row for row, labels in enumerate(lists) if len(set(labels)) < len(labels)), None)
    if repeating is not None:
        raise GeloraError(
            f"{table.location(repeating)}: {quote_name(column)} is {quote(table.columns[column][repeating])}, marks of "
            "labels without their names; list the names of the labels that the row has, or make a column of 0 and 1 "
            "for each label: task.label_columns=[...]"
        )


def _refuse_unreadable_lists(table: Table, column: str, known: Sequence[str]) -> None:
    """Refuse texts in brackets that are no list, as numpy writes `['toxic' 'insult']`, and no known label.

    Raises:
        GeloraError: there is one; the message names the first.
    """
    for row, cell in enumerate(table.columns[column]):
        if not isinstance(cell, str) or cell.strip() in known:
            continue
        if LIST_TEXT.fullmatch(cell) and _list_items(cell) is None:
            raise GeloraError(
                f"{table.location(row)}: {quote_name(column)} is {quote(cell)}, which is no list: commas between "
                "quoted labels are needed. Write ['a', 'b'] or a|b"
            )


def _split(cell: Any, separator: str) -> list[Any]:
    """Return the labels of a text; blank parts, as a separator at its end leaves them, are none."""
    if not isinstance(cell, str):
        return [cell]
    items = _list_items(cell)
    if items is not None:
        return items
    parts = cell.split(separator) if separator else [cell]
    return [part for part in parts if part.strip()]


def _list_items(cell: str) -> list[str] | None:
    """Return the items of a list that was written as text, as pandas writes `['toxic', 'insult']`, or None."""
    match = LIST_TEXT.fullmatch(cell)
    if match is None:
        return None
    inside = match[1].strip()
    items, end = [], 0
    while end < len(inside):
        item = LIST_ITEM.match(inside, end)
        if item is None:
            return None
        items.append(next(group for group in item.groups() if group is not None))
        end = item.end()
    return items


def _separator(table: Table, task: TaskConfig, known: Sequence[str]) -> tuple[str, str]:
    """Return the character that separates the labels of a text, empty for none, and a note that says so.

    Known names decide: the separator is the first by which every label is known. Without them, or if none fits, it is
    the only one of `| ; ,` that is in any text.

    Raises:
        GeloraError: several of them are.
    """
    if task.label_separator != "auto":
        return SEPARATORS[task.label_separator], ""
    texts = [cell for cell in table.columns[task.label or ""] if isinstance(cell, str) and _list_items(cell) is None]
    characters = [SEPARATORS[name] for name in DETECTED]
    used = set("".join(texts))  # every character of the texts
    present = [character for character in characters if character in used]
    if known:
        names = set(known)
        for character in ("", *present):
            parts: list[str] = []
            for text in texts:
                parts += [part.strip() for part in _split(text, character)]
            if names.issuperset(parts):
                return character, _separator_note(character)
    if len(present) > 1:
        given = " and ".join(present)
        raise GeloraError(
            f"{table.name}: the texts in {quote_name(task.label or '')} hold {given}; say which one separates labels: "
            f"task.label_separator=NAME ({', '.join(SEPARATORS)})"
        )
    character = present[0] if present else ""
    return character, _separator_note(character)


def _separator_note(character: str) -> str:
    name = next((name for name, sign in SEPARATORS.items() if sign == character), "")
    return f"labels separated by {name}" if name else ""
