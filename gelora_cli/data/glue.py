"""Load GLUE-like text tasks in the hub's layout, and check their rows against the task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_names, quote
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.data.parquet import ParquetColumns
from gelora_cli.data.splits import LARGEST_SCORE, TextSplit
from gelora_cli.data.tables import read_table, read_texts


def load_split(directory: Path, task: TaskConfig, split: str) -> TextSplit:
    """Return one split of a task from `<directory>/<folder>/<split>-*.parquet`, the hub's layout.

    The task gives the columns of texts, the label names in the hub's order (none for a score), its kind, and whether
    empty texts are accepted. The rows of a split in `task.test_splits` may lack labels.

    Raises:
        GeloraError: the split or a column is missing, there are no rows, a text is empty, or a label isn't one of the
            task's names.
    """
    is_test = split in task.test_splits
    needed = [] if is_test else ["label"]
    optional = ["label", "idx"] if is_test else ["idx"]
    table = read_table(directory, task, split, [*task.columns, *needed], optional=optional)
    columns = tuple(list(read_texts(table, name)) for name in task.columns)
    if not columns[0]:
        raise GeloraError(f"task={task.name}: split {split} is empty; give data with at least one row")
    empty_rows: list[int] = []
    for column in columns:
        empty_rows += [row for row, text in enumerate(column) if not text.strip()]
    if empty_rows and task.empty_text == "error":
        raise GeloraError(
            f"task={task.name}, split {split}: {len(empty_rows)} empty texts, the first in row {min(empty_rows)}; "
            "remove those rows, or accept them with task.empty_text=keep"
        )
    return TextSplit(split, _read_ids(table), columns, _read_labels(table, task, split))


def _read_ids(table: ParquetColumns) -> NDArray[np.int64]:
    """Return the data set's own `idx` if it gives each row a different number, else row numbers; (n,)."""
    ids = list(table.values("idx")) if "idx" in table.columns else []
    # `type` and not isinstance, since True is an int; 2**63 is the bound of int64.
    are_numbers = all(type(value) is int and abs(value) < 2**63 for value in ids)
    if ids and are_numbers and len(set(ids)) == len(ids):
        return np.asarray(ids, dtype=np.int64)
    return np.arange(table.rows, dtype=np.int64)


def _read_labels(table: ParquetColumns, task: TaskConfig, split: str) -> NDArray[np.int64] | NDArray[np.float32] | None:
    """Return classes or scores, (n,); None if the split has no labels."""
    if "label" not in table.columns:
        return None
    values = list(table.values("label"))
    if split in task.test_splits and all(value is None or value == -1 for value in values):
        return None  # GLUE's test splits are unlabelled: every label is -1
    if TASK_KINDS.get(task.kind).target == "scores":
        return _check_scores(values, task, split)
    # Codes mean what the file's own metadata says. Only without metadata are they positions in `task.labels`.
    code_names = table.classes.get("label") or task.labels
    return _match_classes(values, code_names, task, split)


def _check_scores(values: Sequence[Any], task: TaskConfig, split: str) -> NDArray[np.float32]:
    """Return the labels as scores, (n,).

    Raises:
        GeloraError: a label is not a finite number.
    """
    for row, value in enumerate(values):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not abs(value) <= LARGEST_SCORE:  # NaN fails the second comparison
            raise GeloraError(
                f"task={task.name}, split {split}, row {row}: label {quote(value)} is not a finite number; correct it, "
                "or remove the row"
            )
    return np.asarray(values, dtype=np.float32)


def _match_classes(values: Sequence[Any], code_names: Sequence[str], task: TaskConfig, split: str) -> NDArray[np.int64]:
    """Return the labels as positions in `task.labels`, (n,), matched by name.

    Args:
        values: names, or codes 0, 1, ... of the data set.
        code_names: the name of each code.
        task: the task.
        split: name of the split, for messages.

    Raises:
        GeloraError: a label is not one of the task's names.
    """
    position_of_name = {name: position for position, name in enumerate(task.labels)}
    position: dict[Any, int] = dict(position_of_name)
    position |= {code: position_of_name[name] for code, name in enumerate(code_names) if name in position_of_name}
    for row, value in enumerate(values):
        is_label = isinstance(value, str | int | float) and not isinstance(value, bool)
        if not is_label or value not in position:
            is_code = isinstance(value, int) and 0 <= value < len(code_names)
            label = code_names[value] if is_code else value
            raise GeloraError(
                f"task={task.name}, split {split}, row {row}: label {quote(label)} is not among the task's names "
                f"{join_names(task.labels)}; correct the data, or name all labels: task.labels=[...]"
            )
    return np.asarray([position[value] for value in values], dtype=np.int64)
