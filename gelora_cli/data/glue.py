"""GLUE-like text tasks: rows from a hub data set or a local directory in its layout, checked against the task."""

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
    """One split of a task from `<directory>/<task>/<split>-*.parquet`, the hub's layout.

    `task` has `name`, `columns`, `labels` (names in the hub's order; empty for a score), `kind` and `empty_text`.

    Raises:
        GeloraError: the split, a column or a label name is missing, a label is outside the names, no row, no text.
    """
    hidden = split in task.test_splits
    label, optional = ([], ["label", "idx"]) if hidden else (["label"], ["idx"])
    table = read_table(directory, task, split, [*task.columns, *label], optional=optional)
    columns = tuple(list(read_texts(table, name)) for name in task.columns)
    _check_rows(columns, task, split)
    ids = _ids(table)
    return TextSplit(split, ids, columns, _labels(table, task, split))


def _check_rows(columns: Sequence[Sequence[str]], task: TaskConfig, split: str) -> None:
    if not columns[0]:
        raise GeloraError(f"task={task.name}: split {split} is empty; give data with at least one row")
    empty = [row for column in columns for row, text in enumerate(column) if not text.strip()]
    if empty and task.empty_text == "error":
        raise GeloraError(
            f"task={task.name}, split {split}: {len(empty)} empty texts, the first in row {min(empty)}; "
            "remove those rows, or accept them with task.empty_text=keep"
        )


def _ids(table: ParquetColumns) -> NDArray[np.int64]:
    """Return the data set's own `idx` where it names each row once by a number, else row numbers."""
    ids = list(table.values("idx")) if "idx" in table.columns else []
    if ids and all(type(value) is int and abs(value) < 2**63 for value in ids) and len(set(ids)) == len(ids):
        return np.asarray(ids, dtype=np.int64)
    return np.arange(table.rows, dtype=np.int64)


def _labels(table: ParquetColumns, task: TaskConfig, split: str) -> NDArray[np.int64] | NDArray[np.float32] | None:
    if "label" not in table.columns:
        return None
    values = list(table.values("label"))
    if split in task.test_splits and all(value is None or value == -1 for value in values):
        return None
    names = table.classes.get("label") or task.labels
    is_scored = TASK_KINDS.get(task.kind).target == "scores"
    return _scores(values, task, split) if is_scored else _classes(values, names, task, split)


def _scores(values: Sequence[Any], task: TaskConfig, split: str) -> NDArray[np.float32]:
    for row, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_SCORE:
            raise GeloraError(f"task={task.name}, split {split}, row {row}: label {quote(value)} is no finite number")
    return np.asarray(values, dtype=np.float32)


def _classes(values: Sequence[Any], names: Sequence[str], task: TaskConfig, split: str) -> NDArray[np.int64]:
    """Return labels as positions in `task.labels`, matched by name; `names` are those of the data set's codes."""
    index = {name: position for position, name in enumerate(task.labels)}
    lookup: dict[Any, int] = dict(index) | {code: index[name] for code, name in enumerate(names) if name in index}
    for row, value in enumerate(values):
        if not isinstance(value, str | int | float) or isinstance(value, bool) or value not in lookup:
            label = names[value] if isinstance(value, int) and 0 <= value < len(names) else value
            raise GeloraError(
                f"task={task.name}, split {split}, row {row}: label {quote(label)} is outside the task's names "
                f"{join_names(task.labels)}; correct the data, or set task.labels"
            )
    return np.asarray([lookup[value] for value in values], dtype=np.int64)
