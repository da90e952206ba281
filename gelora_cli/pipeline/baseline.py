"""The value that a finished run has to beat: what one prediction for every row reaches."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.registries import TASK_KINDS


def constant_baseline(directory: Path, task: TaskConfig, result: RunResult) -> float | None:
    """Return the reported value of one prediction for every row of the first reported split.

    For accuracy this is the majority baseline, the most common label for every row. F1 of a rare label is highest if
    all rows get that label.

    Args:
        directory: the run, whose saved predictions hold the labels.
        task: its task.
        result: its result.

    Returns:
        The value, or None for a kind of task without such predictions, such as questions, or without saved predictions.
    """
    from gelora_cli.metrics.base import metric_of
    from gelora_cli.metrics.definitions import of_all

    path = directory / run_files.PREDICTIONS
    if not path.is_file():
        return None
    kind = TASK_KINDS.get(task.kind)
    first_split = result.results[0].split  # the split whose value a run reports
    with path.open(encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["split"] == first_split]
    if not rows:
        return None
    _, true = kind.arrays(task, result.reported, rows)  # (n,)
    predictions = kind.constant_predictions_for(replace(task, reported=result.reported), true)  # (n,)
    if predictions is None:
        return None
    score = metric_of(task.metric, task.labels).all_scores()[result.reported]
    return float(of_all(score, predictions, true)[0])
