"""GLUE-like text tasks: rows from a hub data set or a local directory in its layout, checked against the task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gelora_cli.artifacts import GeloraError
from gelora_cli.data.splits import TextSplit
from gelora_cli.data.tables import check_columns, read_table

if TYPE_CHECKING:
    from datasets import Dataset


def load_split(directory: Path, task: Any, split: str) -> TextSplit:
    """One split of a task from `<directory>/<task>/<split>-*.parquet`, the hub's layout.

    `task` has `name`, `columns`, `labels` (names in the hub's order; empty for a score), `kind` and `empty_text`.

    Raises:
        GeloraError: the split, a column or a label name is missing, a label is outside the names, no row, no text.
    """
    table = read_table(directory, task, split)
    needed = [*task.columns, *([] if split in task.test_splits else ["label"])]
    check_columns(table, needed, task, split, directory)
    columns = tuple(_texts(table, name) for name in task.columns)
    _check_rows(columns, task, split)
    ids = _ids(table)
    return TextSplit(split, ids, columns, _labels(table, task, split))


def _texts(table: Dataset, name: str) -> list[str]:
    return ["" if text is None else str(text) for text in table[name]]


def _check_rows(columns: Sequence[Sequence[str]], task: Any, split: str) -> None:
    if not columns[0]:
        raise GeloraError(f"task={task.name}: split {split} is empty; give data with at least one row")
    empty = [row for column in columns for row, text in enumerate(column) if not text.strip()]
    if empty and task.empty_text == "error":
        raise GeloraError(
            f"task={task.name}, split {split}: {len(empty)} empty texts, the first in row {min(empty)}; "
            "remove those rows, or accept them with task.empty_text=keep"
        )


def _ids(table: Dataset) -> NDArray[np.int64]:
    """The data set's own `idx` where it names each row once, else row numbers."""
    if "idx" in table.column_names:
        ids = np.asarray(table["idx"], dtype=np.int64)
        if len(np.unique(ids)) == len(ids):
            return ids
    return np.arange(len(table), dtype=np.int64)


def _labels(table: Dataset, task: Any, split: str) -> NDArray[np.int64] | NDArray[np.float32] | None:
    if "label" not in table.column_names:
        return None
    values = table["label"]
    if split in task.test_splits and all(value is None or value == -1 for value in values):
        return None
    return _scores(values, task, split) if task.kind == "regression" else _classes(table, values, task, split)


def _scores(values: Sequence[Any], task: Any, split: str) -> NDArray[np.float32]:
    for row, value in enumerate(values):
        if not isinstance(value, int | float) or not np.isfinite(value):
            raise GeloraError(f"task={task.name}, split {split}, row {row}: label {value!r} is not a number")
    return np.asarray(values, dtype=np.float32)


def _classes(table: Dataset, values: Sequence[Any], task: Any, split: str) -> NDArray[np.int64]:
    """Labels as positions in `task.labels`, matched by name wherever the data set has names."""
    names: Sequence[str] = getattr(table.features["label"], "names", None) or task.labels
    index = {name: position for position, name in enumerate(task.labels)}
    lookup: dict[Any, int] = dict(index) | {code: index[name] for code, name in enumerate(names) if name in index}
    for row, value in enumerate(values):
        if isinstance(value, bool) or value not in lookup:
            shown = names[value] if isinstance(value, int) and 0 <= value < len(names) else value
            raise GeloraError(
                f"task={task.name}, split {split}, row {row}: label {shown!r} is outside the task's names "
                f"{', '.join(task.labels)}; correct the data, or set task.labels"
            )
    return np.asarray([lookup[value] for value in values], dtype=np.int64)
