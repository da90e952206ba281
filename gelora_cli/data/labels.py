"""Match labels of your own data by name: which values are the same label, and which are missing labels."""

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
from gelora_cli.data.files import Table, describe_count

MISSING_MARKS = frozenset(
    ("nan", "-nan", "na", "n/a", "null", "none", "<na>", "#n/a", "#na", "#n/a n/a", "nat", "1.#ind", "1.#qnan")
)
"""What pandas, spreadsheets and databases write for a missing value, in lower case."""

LONGEST_LABEL = 200
"""Greatest length of a label's name, in characters."""

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)


def is_missing(value: object, known: Sequence[str] = ()) -> bool:
    """Return whether a value is no label: empty, NaN, or a mark of a missing value that isn't a `known` label."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    if not isinstance(value, str):
        return False
    name = value.strip()
    return name == "" or (name.casefold() in MISSING_MARKS and name not in known)


def infer_label_names(table: Table, column: str) -> list[str]:
    """Return the different labels of a column.

    Their order is that in which the file itself names them (parquet), else numbers come by value and names by
    alphabet.

    Raises:
        GeloraError: a label is missing, there are about as many labels as rows, or two labels look like one.
    """
    names = read_row_labels(table, column, ())
    counts = Counter(names)
    # Scores or texts in the place of labels would make one class of almost every row.
    if len(counts) > max(2, len(table) // 2):
        raise GeloraError(
            f"{table.name}: {column} has {len(counts)} different values in {len(table)} rows, too many for labels. "
            "If they are scores give task.kind=regression; if another column holds the labels give task.label=COLUMN"
        )
    return order_label_names(table, column, names)


def order_label_names(table: Table, column: str, names: Sequence[str]) -> list[str]:
    """Return the different labels among those of the rows, in the order of `infer_label_names`.

    Args:
        table: the rows.
        column: the column of the labels.
        names: what `read_row_labels` returned.

    Raises:
        GeloraError: two labels look like one.
    """
    counts = Counter(names)
    if class_names := [name.strip() for name in table.classes.get(column, ())]:
        return [name for name in class_names if name in counts]
    _refuse_lookalikes(table, column, names, counts)
    _refuse_mixed_truth_values(table, column, names, counts)
    if all(re.fullmatch(r"-?\d+", name, re.ASCII) for name in counts):
        return sorted(counts, key=lambda name: (Decimal(name), name))  # the name decides between 1 and 01
    return sorted(counts)


def classes(table: Table, task: TaskConfig) -> NDArray[np.int64]:
    """Return the labels of the rows as positions in `task.labels`, (n,).

    Raises:
        GeloraError: a label is missing, or is not one of the task's.
    """
    assert task.label is not None
    position = {name: index for index, name in enumerate(task.labels)}
    names = read_row_labels(table, task.label, task.labels)
    for row, name in enumerate(names):
        if name not in position:
            raise GeloraError(
                f"{table.location(row)}: label {quote_name(name)} is not among those of the training rows or of "
                f"task.labels; {suggest(name, task.labels)}; correct it, or name all of them: task.labels=[...]"
            )
    return np.array([position[name] for name in names], dtype=np.int64)


def read_row_labels(table: Table, column: str, known: Sequence[str]) -> list[str]:
    """Return the label of each row by name, (n,): texts without blanks around them, other values as they are written.

    Equal numbers, such as 1 and 1.0, are one label. Its name is the `known` one, else the shortest one in the column.

    Raises:
        GeloraError: a label is missing, isn't a text or a number, or is too long for one.
    """
    known = [*known, *(name.strip() for name in table.classes.get(column, ()))]
    values = table.columns[column]
    missing_rows = [row for row, value in enumerate(values) if is_missing(value, known)]
    if missing_rows:
        raise GeloraError(_explain_missing_label(table, column, missing_rows))
    names = []
    for row, value in enumerate(values):
        # Truth values become `True` and `False`, numbers their usual spelling.
        name = "" if isinstance(value, list | dict | bytes) else str(value).strip()
        if not name or has_lone_surrogate(name):
            raise GeloraError(
                f"{table.location(row)}: a label in {column} must be a text or a number, not {quote(value)}; correct it"
            )
        if len(name) > LONGEST_LABEL:
            raise GeloraError(
                f"{table.location(row)}: the label in {column} has {len(name):,} characters ({quote(name)}), and at "
                f"most {LONGEST_LABEL} are accepted. If another column holds the labels give task.label=COLUMN"
            )
        names.append(name)
    spelled = _unify_numbers([*dict.fromkeys(names)], known)
    return [spelled.get(name, name) for name in names]


def describe_respelled(table: Table, task: TaskConfig) -> str:
    """Return which labels of the rows were counted as a label of another spelling, for the log; empty if none was."""
    assert task.label is not None
    written = dict.fromkeys(str(value).strip() for value in table.columns[task.label])
    others = [name for name in written if name not in task.labels]
    if not others:
        return ""
    return f"equal numbers are one label: {join_names(others)} counted as {join_names(task.labels)}"


def _explain_missing_label(table: Table, column: str, rows: Sequence[int]) -> str:
    location = table.location(rows[0])
    value = table.columns[column][rows[0]]
    fix = f"{describe_count(len(rows))}; fill it in, or remove the row"
    if not isinstance(value, str) or not value.strip():
        return f"{location}: no label in {column}{fix}{_several_labels_hint(table.columns[column])}"
    return (
        f"{location}: no label in {column}, but {quote(value)}, which marks a missing value{fix}. If it is the name of "
        "a label name all labels: task.labels=[...]"
    )


def _several_labels_hint(values: Sequence[object]) -> str:
    """Return which key reads a column whose cells seem to hold several labels each; empty for other columns."""
    if any(isinstance(value, str) and re.search(r"[^\s|;][|;]\s*[^\s|;]", value) for value in values):
        return ". If a text may have several labels, or none, give task.kind=multilabel"
    return ""


def _unify_numbers(names: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Return name -> chosen name, for every name that is a number and isn't `known`."""
    spellings: dict[Decimal, list[str]] = {}
    for name in dict.fromkeys([*known, *names]):
        number = _parse_number(name)
        if number is not None:
            spellings.setdefault(number, []).append(name)
    chosen: dict[str, str] = {}
    # Known names are preferred, then short ones, then those that come first in the alphabet: no order of rows counts.
    for same in spellings.values():
        best = min(same, key=lambda name: (name not in known, len(name), name))
        chosen |= {name: best for name in same if name not in known}
    return chosen


def _parse_number(name: str) -> Decimal | None:
    if not NUMBER.fullmatch(name):
        return None
    try:
        return Decimal(name)
    except InvalidOperation:
        return None


def _refuse_lookalikes(table: Table, column: str, names: Sequence[str], counts: Counter[str]) -> None:
    """Refuse labels that differ only in case, width, blanks or invisible characters: they are most likely one."""
    variants_of: dict[str, list[str]] = {}
    for name in counts:
        visible = "".join(character for character in name if unicodedata.category(character) != "Cf")  # Cf: invisible
        folded = " ".join(unicodedata.normalize("NFKC", visible).casefold().split())  # NFKC: one width
        variants_of.setdefault(folded, []).append(name)
    for variants in variants_of.values():
        if len(variants) == 1:
            continue
        by_count = sorted(variants, key=lambda name: (counts[name], names.index(name)))
        rare, common = by_count[0], by_count[-1]
        raise GeloraError(
            f"{table.location(names.index(rare))}: label {quote(rare)} ({counts[rare]} rows) differs from "
            f"{quote(common)} ({counts[common]} rows) only in case or invisible characters; write one of them in "
            f"{column}, or if they are two labels name all labels: task.labels=[...]"
        )


def _refuse_mixed_truth_values(table: Table, column: str, names: Sequence[str], counts: Counter[str]) -> None:
    """Refuse `true` or `false` together with `1` or `0`: some rows were most likely written in another way."""
    truths = [name for name in counts if name.casefold() in ("true", "false")]
    numbers = [name for name in counts if _parse_number(name) in (0, 1)]
    if not truths or not numbers:
        return
    rarer = min(truths, numbers, key=lambda group: sum(counts[name] for name in group))
    row = next(row for row, name in enumerate(names) if name in rarer)
    raise GeloraError(
        f"{table.location(row)}: label {names[row]}: {column} holds both {join_names(truths)} and "
        f"{join_names(numbers)}. Write them in one way, or if they are different labels name all labels: "
        "task.labels=[...]"
    )
