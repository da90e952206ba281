"""A task on data of the user's own (`task=text`): a table, a text file, or a data set in the hub's layout.

Labels are matched by name, whatever their type (`labels.py`). Where no validation rows are given, every tenth training
row is held out: rows are shuffled with a fixed seed and sorted by label (or score), so that each label is held out in
its share. Rows of equal texts count as one and stay on one side. Where `task.group` names a column, whole groups are
held out instead (`held_out.py`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import has_lone_surrogate, join_names, quote, quote_name
from gelora_cli.core.registries import METRICS, TASK_KINDS
from gelora_cli.data.files import READERS, Request, Table, joined, read_table
from gelora_cli.data.held_out import hold_out_tenth
from gelora_cli.data.labels import classes, describe_respelled, infer_label_names, is_missing
from gelora_cli.data.splits import LARGEST_SCORE, TextSplit
from gelora_cli.data.user_files import dialect_of, locate_source, split_files


def complete_user_task(task: TaskConfig, data: DataConfig) -> TaskConfig:
    """The task with its label names: those given, else those of the training rows.

    They come in the order in which the file names them (parquet's class labels), else numbers by value, others by name.

    Raises:
        GeloraError: what `load_user_split` refuses, fewer than two labels, or about as many as rows.
    """
    if TASK_KINDS.get(task.kind).target == "scores":
        return task
    table = _read(task, data, "train")
    if task.label not in table.columns:
        return task
    names = task.labels or infer_label_names(table, task.label)
    metric = METRICS.get(task.metric)
    if not metric.accepts_labels(names):
        raise GeloraError(
            f"task.metric={task.metric} needs {metric.needed_labels()}, here are "
            f"{join_names(names)}; name their column in {table.name} by task.label=..., or them by task.labels=[...]"
        )
    return replace(task, labels=names)


def load_user_split(task: TaskConfig, data: DataConfig, split: str) -> TextSplit:
    """One split: `train` and `validation` of a file, any split of a directory or hub data set. Ids are row numbers.

    Raises:
        GeloraError: no such file or split, a missing column, an empty text, a missing or unknown label, a score that
            is no finite number, or rows that are all of one label.
    """
    held = split in ("train", "validation") and _holds_out(task, data)
    found = _split(task, _read(task, data, "train" if held else split), "train" if held else split)
    if not held or (found.labels is None and split == "train"):
        return found
    train, validation = hold_out_tenth(found, task)
    return train if split == "train" else validation


def load_user_text(task: TaskConfig, data: DataConfig) -> tuple[TaskConfig, TextSplit]:
    """The task with its label names, and the text of the rows that a run would train on; of all rows, without labels,
    where it would refuse these.

    Raises:
        GeloraError: what `load_user_split` refuses, labels aside.
    """
    unjudged = replace(task, test_splits=[*task.test_splits, "train"])
    try:
        known = complete_user_task(unjudged, data)
        return replace(task, labels=known.labels), load_user_split(known, data, "train")
    except GeloraError as error:
        split = load_user_split(replace(unjudged, label=None), data, "train")
        return task, replace(
            split, note="; ".join(filter(None, (split.note, f"all rows, their labels left out: {error}")))
        )


def find_user_files(task: TaskConfig, data: DataConfig) -> dict[str, tuple[Path, list[Path]]]:
    """The key of each source given, with its file or directory and the files that are needed of it."""
    splits = {"text": ("train", *task.eval_splits, *task.test_splits), "text_validation": ("validation",)}
    found = {}
    for key in (key for key in splits if getattr(data, key) is not None):
        place = locate_source(task, key, getattr(data, key))
        files = [file for split in splits[key] for file in split_files(place, task.folder, split)]
        found[key] = (place, [place] if place.is_file() else files)
    return found


def _read(task: TaskConfig, data: DataConfig, split: str) -> Table:
    """The rows of a split as they are in its files."""
    key = _key(data, split)
    place = locate_source(task, key, getattr(data, key))
    files = split_files(place, task.folder, split)
    if place.is_file() and split == ("validation" if key == "text_validation" else "train"):
        files = [place]
    if not files:
        raise GeloraError(
            f"data.{key}={place} has no split {split}: a file has train and validation, a directory what lies in it, "
            f"in data/ or in task.folder=NAME as {split}-*.parquet or {split}.csv ({', '.join(READERS)})"
        )
    hidden = split in task.test_splits
    others = [task.label] if task.label else []
    request = Request(task.columns, others, dialect_of(data), task.group)
    optional = [name for name in (task.label, task.group) if name] if hidden else []
    tables = [read_table(file, request, key=f"data.{key}", optional=optional) for file in files]
    table = tables[0] if len(tables) == 1 else joined(tables, f"{place}, split {split}")
    given = table.columns.get(task.label, []) if task.label else []
    if hidden and task.label and all(is_missing(value, task.labels) for value in given):
        table.columns.pop(task.label, None)
    return table


def _key(data: DataConfig, split: str) -> str:
    return "text_validation" if split == "validation" and data.text_validation is not None else "text"


def _holds_out(task: TaskConfig, data: DataConfig) -> bool:
    """Whether validation rows must come from the training ones."""
    if data.text is None or data.text_validation is not None or "validation" not in task.eval_splits:
        return False
    return not split_files(locate_source(task, "text", data.text), task.folder, "validation")


def _split(task: TaskConfig, table: Table, split: str) -> TextSplit:
    columns = tuple(table.texts(name) for name in task.columns)
    if task.empty_text == "error":
        table.refuse_empty_texts(columns, "remove those rows, or accept them with task.empty_text=keep")
    labels: NDArray[Any] | None = None
    notes = [table.note]
    if task.label in table.columns:
        if TASK_KINDS.get(task.kind).target == "scores":
            labels, rounded = _scores(table, task.label)
            notes.append(rounded)
        else:
            labels = classes(table, task)
            notes.append(describe_respelled(table, task))
        if split == "train" and len(np.unique(labels)) < 2:
            only = quote_name(table.columns[task.label][0])
            fix = f" ({notes[-1]})" if notes[-1] else ""
            raise GeloraError(
                f"{table.name}: every row has {task.label} {only}; two or more are needed to learn from{fix}"
            )
    groups = _group_names(table, task.group) if task.group in table.columns else None
    note = "; ".join(filter(None, notes))
    return TextSplit(split, np.arange(len(table), dtype=np.int64), columns, labels, note, groups)


def _group_names(table: Table, column: str) -> list[str]:
    """Return the group of each row by name, without blanks around it.

    Raises:
        GeloraError: a row without a group, or a value that is neither text nor number.
    """
    names = []
    for row, value in enumerate(table.columns[column]):
        missing = value is None or (isinstance(value, float) and math.isnan(value))
        name = "" if missing or isinstance(value, list | dict | bytes) else str(value).strip()
        if not name or has_lone_surrogate(name):
            but = "" if missing or value == "" else f", but {quote(value)}"
            raise GeloraError(f"{table.where(row)}: no group in {column}{but}; give a text or a number in every row")
        names.append(name)
    return names


def _scores(table: Table, column: str) -> tuple[NDArray[np.float32], str]:
    """Return the scores (n,), and what is to be said where different ones are equal in float32."""
    numbers = [_number(value) for value in table.columns[column]]
    for row, number in enumerate(numbers):
        if not abs(number) <= LARGEST_SCORE:
            value = quote(table.columns[column][row])
            raise GeloraError(f"{table.where(row)}: {column} is {value}, no finite number; give one, or remove the row")
    scores = np.array(numbers, dtype=np.float32)
    different, left = len(set(numbers)), len(np.unique(scores))
    if left == different:
        return scores, ""
    return scores, (
        f"{different:,} different values of {column} are {left:,} in float32, which holds seven digits: subtract their "
        "mean, or give them in another unit"
    )


def _number(value: SupportsFloat | str) -> float:
    """A number, also one written as text; NaN for anything else."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):  # an integer of 400 digits overflows
        return math.nan
