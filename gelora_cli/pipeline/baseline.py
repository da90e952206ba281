"""The value that a finished run has to beat: what one prediction for every row reaches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.core.run_reader import RunFiles, as_run_files

BEST_BY_COMMON_LABEL = ("accuracy", "macro_f1", "matthews_correlation")
"""Values for which no label for every example is better than the most common one."""


def constant_baseline(run: RunFiles | Path, task: TaskConfig, result: RunResult) -> float | None:
    """Return the reported value of one prediction for every row of the first reported split.

    For accuracy this is the majority baseline, the most common label for every row. F1 of a rare label is highest if
    all rows get that label.

    Args:
        run: the files of the run or its directory, whose saved predictions hold the labels.
        task: its task.
        result: its result.

    Returns:
        The value, or None for a kind of task without such predictions, such as questions, or without saved predictions.

    Raises:
        GeloraError: the saved predictions are damaged.
    """
    from gelora_cli.metrics.base import metric_of
    from gelora_cli.metrics.definitions import of_all
    from gelora_cli.tasks.base import WRONG_ROWS

    files = as_run_files(run)
    if not files.has(run_files.PREDICTIONS):
        return None
    kind = TASK_KINDS.get(task.kind)
    first_split = result.results[0].split  # the split whose value a run reports
    try:
        rows = files.prediction_rows(first_split)
        if not rows:
            return None
        _, true = kind.arrays(task, result.reported, rows)  # (n,)
        predictions = kind.constant_predictions_for(replace(task, reported=result.reported), true)  # (n,)
    except (OSError, *WRONG_ROWS) as error:
        raise GeloraError(
            f"{files.place / run_files.PREDICTIONS} is damaged: {error!r}. Restore it, or do the run again with "
            "force=true."
        ) from error
    if predictions is None:
        return None
    score = metric_of(task.metric, task.labels).all_scores()[result.reported]
    return float(of_all(score, predictions, true)[0])


def describe_constant(task: TaskConfig, reported: str) -> str:
    """Return in words the one prediction whose value `constant_baseline` gives, such as `the most common label`."""
    target = TASK_KINDS.get(task.kind).target
    if target == "labels" and reported not in BEST_BY_COMMON_LABEL:
        return "one label"
    return {"labels": "the most common label", "label_sets": "one set of labels"}.get(target, "the mean score")
