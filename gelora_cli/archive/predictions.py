"""The predictions of a run as an archive has them: the rows once for all runs, and a value per row for each run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gelora_cli.archive.records import PackedPredictions, RowsRecord, rows_sha256
from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.tasks.base import Row


def pack_predictions(
    task: TaskConfig, reported: str, lines: Sequence[Row]
) -> list[tuple[RowsRecord, PackedPredictions]]:
    """Return the lines of `predictions.jsonl`, split by split in the order of the file.

    Args:
        task: the run's task, whose kind says what is kept of a prediction.
        reported: the name of the reported metric.
        lines: the lines.

    Raises:
        ValueError, KeyError, TypeError: a line is none that the task kind writes, or the reported metric could not be
            computed of what is kept.
    """
    by_split: dict[str, list[Row]] = {}
    for line in lines:
        by_split.setdefault(line["split"], []).append(line)
    return [_pack_split(task, reported, split, rows) for split, rows in by_split.items()]


def unpack_predictions(task: TaskConfig, rows: RowsRecord, packed: PackedPredictions) -> list[Row]:
    """Return the lines of `predictions.jsonl` of a split, without the scores that no metric reads.

    Raises:
        ValueError, TypeError: another number of values than rows, or a value that no run of the task kind has.
    """
    kind = TASK_KINDS.get(task.kind)
    groups = [None] * len(rows.ids) if rows.groups is None else rows.groups
    lines = []
    for number, label, group, value in zip(rows.ids, rows.labels, groups, packed.values, strict=True):
        line = {"id": number, "split": rows.split, **kind.unpacked(task, value), "label": label}
        lines.append(line if group is None else {**line, "group": group})
    return lines


def _pack_split(task: TaskConfig, reported: str, split: str, lines: list[Row]) -> tuple[RowsRecord, PackedPredictions]:
    kind = TASK_KINDS.get(task.kind)
    # A label that is a list of answers stays a list: it is hashed and written as JSON.
    ids, labels = tuple(line["id"] for line in lines), tuple(line["label"] for line in lines)
    every_group = tuple(line.get("group") for line in lines)
    groups = None if all(group is None for group in every_group) else every_group
    rows = RowsRecord(
        sha256=rows_sha256(split, ids, labels, groups), split=split, ids=ids, labels=labels, groups=groups
    )
    values = tuple(kind.packed(task, line) for line in lines)
    packed = PackedPredictions(split=split, rows=rows.sha256, values=values)
    if None not in labels:  # a test split without labels has no metric
        before = kind.arrays(task, reported, lines)
        after = kind.arrays(task, reported, unpack_predictions(task, rows, packed))
        if not all(np.array_equal(*pair, equal_nan=True) for pair in zip(before, after, strict=True)):
            raise ValueError(
                f"task.kind={task.kind}: the metric reads more of a row than `packed` of the kind keeps; override it"
            )
    return rows, packed
