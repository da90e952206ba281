"""Load a task on your own data (`task=text`): a table, a text file, or a data set in the hub's layout.

Labels are matched by name, whatever their type (`labels.py`). If no validation rows are given, every tenth training
row is held out: rows are shuffled with a fixed seed and sorted by label (or score), so that each label is held out in
its share. Rows of equal texts count as one and stay on one side. If `task.group` names a column, whole groups are held
out instead (`held_out.py`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import SupportsFloat

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.input_schema import label_columns
from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import has_lone_surrogate, join_names, quote, quote_name
from gelora_cli.core.registries import METRICS, TASK_KINDS
from gelora_cli.data.files import READERS, Request, Table, concatenate_tables, read_table
from gelora_cli.data.held_out import hold_out_tenth, load_side
from gelora_cli.data.label_sets import are_unlabelled, describe_unseen, infer_set_names, label_sets
from gelora_cli.data.labels import classes, describe_respelled, infer_label_names, is_missing
from gelora_cli.data.reading import once_while_reading
from gelora_cli.data.splits import LARGEST_SCORE, TextSplit, count_distinct
from gelora_cli.data.user_files import dialect_of, files_of_split, locate_files, locate_source, must_hold_out


def complete_user_task(task: TaskConfig, data: DataConfig) -> TaskConfig:
    """Return the task with its label names: those that are given, else those of the training rows.

    For the order of the latter see `infer_label_names`.

    Raises:
        GeloraError: what `load_user_split` refuses, fewer than two labels, or about as many labels as rows.
    """
    target = TASK_KINDS.get(task.kind).target
    if target == "scores":
        return task
    table = _read_split_table(task, data, "train")
    if not _has_labels(task, table):
        return task
    assert task.label is not None or task.label_columns
    names = task.labels
    if not names:
        names = infer_set_names(table, task) if target == "label_sets" else infer_label_names(table, task.label or "")
    metric = METRICS.get(task.metric)
    if not metric.accepts_labels(names):
        given = f"the labels are {join_names(names)}" if names else "no row has any label"
        raise GeloraError(
            f"task.metric={task.metric} needs {metric.needed_labels()}, but {given}. Name "
            f"the column of labels in {table.name} by task.label=COLUMN, or name the labels by task.labels=[...]"
        )
    return replace(task, labels=names)


def load_user_split(task: TaskConfig, data: DataConfig, split: str) -> TextSplit:
    """Return one split, whose ids are row numbers.

    A file has the splits `train` and `validation`; a directory or a hub data set has any split that lies in it.

    Raises:
        GeloraError: no such file or split, a missing column, an empty text, a missing or unknown label, a score that
            is not a finite number, or rows that all have one label.
    """
    if must_hold_out(task, data, split):
        return load_side(_read_split, hold_out_tenth, task, data, split)
    return _read_split(task, data, split)


@once_while_reading
def _read_split(task: TaskConfig, data: DataConfig, split: str) -> TextSplit:
    """Return the rows of a split, before any are held out."""
    return _build_split(task, _read_split_table(task, data, split), split)


def load_user_text(task: TaskConfig, data: DataConfig) -> tuple[TaskConfig, TextSplit]:
    """Return the task with its label names, and the text of the rows that a run would train on.

    If a run would refuse the labels, all rows are returned without labels, and their note says why.

    Raises:
        GeloraError: what `load_user_split` refuses, except for labels.
    """
    unlabelled_task = replace(task, test_splits=[*task.test_splits, "train"])  # labels of test splits may be missing
    try:
        completed = complete_user_task(unlabelled_task, data)
        return replace(task, labels=completed.labels), load_user_split(completed, data, "train")
    except GeloraError as error:
        split = load_user_split(replace(unlabelled_task, label=None, label_columns=[]), data, "train")
        notes = [split.note, f"all rows, their labels left out: {error}"]
        return task, replace(split, note="; ".join(note for note in notes if note))


def find_user_files(task: TaskConfig, data: DataConfig) -> dict[str, tuple[Path, list[Path]]]:
    """Return key -> (file or directory, the files that the task needs of it), for each source that is given."""
    splits_of_key = {"text": ("train", *task.eval_splits, *task.test_splits), "text_validation": ("validation",)}
    return locate_files(task, data, splits_of_key)


def _has_labels(task: TaskConfig, table: Table) -> bool:
    """Return whether a table has the task's columns of labels.

    Raises:
        GeloraError: it has some of them.
    """
    columns = label_columns(task)
    missing = [name for name in columns if name not in table.columns]
    if missing and len(missing) < len(columns):
        raise GeloraError(
            f"{table.name}: no column {join_names(missing)}, but others of task.label_columns; give the rows all of "
            "them, or none"
        )
    return bool(columns) and not missing


def _read_split_table(task: TaskConfig, data: DataConfig, split: str) -> Table:
    """Return the rows of a split as they are in its files.

    A column of labels or groups may be missing in a test split, and labels without any value count as missing.
    """
    has_validation_source = split == "validation" and data.text_validation is not None
    key = "text_validation" if has_validation_source else "text"
    source = locate_source(task, key, getattr(data, key))
    files = files_of_split(task, key, source, split, suffix=".csv", accepted=READERS)
    is_test = split in task.test_splits
    of_labels = label_columns(task)
    request = Request(task.columns, of_labels, dialect_of(data), task.group)
    optional = [name for name in (*of_labels, task.group) if name and is_test]
    tables = [read_table(file, request, key=f"data.{key}", optional=optional) for file in files]
    table = tables[0] if len(tables) == 1 else concatenate_tables(tables, f"{source}, split {split}")
    # Data sets mark an unlabelled test split by empty labels. Some labels among them are checked like any others.
    if is_test and _is_unlabelled(task, table):
        columns = {name: values for name, values in table.columns.items() if name not in of_labels}
        return replace(table, columns=columns)
    return table


def _is_unlabelled(task: TaskConfig, table: Table) -> bool:
    """Return whether the columns of labels, where the table has them, hold no label in any row."""
    if TASK_KINDS.get(task.kind).target == "label_sets":
        return are_unlabelled(table, label_columns(task))
    return all(is_missing(value, task.labels) for value in table.columns.get(task.label or "", []))


def _build_split(task: TaskConfig, table: Table, split: str) -> TextSplit:
    """Return the rows of a table with their labels and groups, checked against the task."""
    columns = tuple(table.texts(name) for name in task.columns)
    if task.empty_text == "error":
        table.refuse_empty_texts(columns, "remove those rows, or accept them with task.empty_text=keep")
    labels: NDArray[np.int64] | NDArray[np.float32] | None = None
    label_note = ""
    if _has_labels(task, table):
        labels, label_note = _read_labels(task, table, split)
    group_names = read_group_names(table, task.group) if task.group in table.columns else None
    note = "; ".join(text for text in (table.note, label_note) if text)
    return TextSplit(split, np.arange(len(table), dtype=np.int64), columns, labels, note, group_names)


def _read_labels(task: TaskConfig, table: Table, split: str) -> tuple[NDArray[np.int64] | NDArray[np.float32], str]:
    """Return the labels of a table in the form of the task's kind, and a note on how they were read.

    Raises:
        GeloraError: a missing or unknown label, a score that is not a finite number, or training rows that all have
            one label.
    """
    labels: NDArray[np.int64] | NDArray[np.float32]
    target = TASK_KINDS.get(task.kind).target
    if target == "label_sets":
        sets, note = label_sets(table, task)
        if split == "train":
            note = "; ".join(text for text in (note, describe_unseen(sets, task.labels)) if text)
        labels = sets
    elif target == "scores":
        labels, note = _read_scores(table, task.label or "")
    else:
        labels, note = classes(table, task), describe_respelled(table, task)
    if split == "train" and count_distinct(labels) < 2:
        columns = label_columns(task)
        only = join_names(quote_name(str(table.columns[name][0])) for name in columns)
        reason = f" ({note})" if note else ""
        raise GeloraError(
            f"{table.name}: every row has {join_names(columns)} {only}, and a model learns nothing from one value"
            f"{reason}. Give rows with two or more, or name another column by task.label=COLUMN"
        )
    return labels, note


def read_group_names(table: Table, column: str) -> list[str]:
    """Return the group of each row by name, (n,), without blanks around it.

    Raises:
        GeloraError: a row has no group, or a value that is neither a text nor a number.
    """
    names = []
    for row, value in enumerate(table.columns[column]):
        missing = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
        name = "" if missing or isinstance(value, list | dict | bytes) else str(value).strip()
        if not name or has_lone_surrogate(name):
            instead = "" if missing else f", but {quote(value)}"
            raise GeloraError(
                f"{table.location(row)}: no group in {column}{instead}; give a text or a number in every row"
            )
        names.append(name)
    return names


def _read_scores(table: Table, column: str) -> tuple[NDArray[np.float32], str]:
    """Return the scores (n,), and a warning if different ones are equal in float32, else an empty text.

    Raises:
        GeloraError: a score is not a finite number.
    """
    numbers = [_parse_score(value) for value in table.columns[column]]
    for row, number in enumerate(numbers):
        if not abs(number) <= LARGEST_SCORE:  # NaN fails this comparison
            value = quote(table.columns[column][row])
            raise GeloraError(
                f"{table.location(row)}: {column} is {value}, but a finite number in float32 is needed; correct it, or "
                "remove the row"
            )
    scores = np.array(numbers, dtype=np.float32)
    count = len(set(numbers))  # in float64
    float32_count = len(np.unique(scores))
    if float32_count == count:
        return scores, ""
    return scores, (
        f"{count:,} different values of {column} are {float32_count:,} in float32, which holds seven digits: subtract "
        "their mean, or give them in another unit"
    )


def _parse_score(value: SupportsFloat | str) -> float:
    """Return a number, also one that is written as text; NaN for anything else."""
    if isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):  # an integer of 400 digits overflows
        return math.nan
