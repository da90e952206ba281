"""The predictions of a finished run, as arrays that its task's metric can be computed of; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gelora_cli.config.files import config_of
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import quote
from gelora_cli.core.registries import METRICS, TASK_KINDS
from gelora_cli.core.run_files import PREDICTIONS
from gelora_cli.core.run_reader import PredictionRow, RunFiles, artifact_of, as_run_files
from gelora_cli.metrics.base import metric_of
from gelora_cli.metrics.definitions import Array, Score, of_all
from gelora_cli.report.runs import CollectedRuns, unreadable_run
from gelora_cli.tasks.base import WRONG_ROWS

REMEDY = "Restore it, or do the run again with force=true."
TOLERANCE = 1e-6
"""By how much the value of the predictions may differ from that in `result.json`, relative to values above 1."""


class UntestableError(GeloraError):
    """A reported value that can't be computed of resamples; nothing is wrong with the run."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """A run on the split that decides, its examples in the order of their ids.

    Attributes:
        directory: of the run, or its path in an archive.
        result: the run's result.
        metric: the name of the task's metric, and of its reported value.
        score: the definition of the reported value.
        ids: of the n examples.
        labels: the right answers as the file has them.
        predicted: (n,) what `score` takes: classes by number, scores, or of SQuAD the points of each question.
        true: (n,) what `score` takes beside it; zeros of SQuAD.
        groups: the names of what examples belong to (articles); None of a run whose predictions name none.
    """

    directory: Path
    result: RunResult
    metric: tuple[str, str]
    ids: tuple[str, ...]
    labels: tuple[object, ...]
    predicted: Array
    true: Array
    score: Score
    groups: tuple[str, ...] | None = None


def read_predictions(run: RunFiles | Path) -> Predictions:
    """Read the predictions of the first split in `result.json`.

    Raises:
        UntestableError: the reported value can't be computed of resamples.
        GeloraError: a file is missing or damaged, or what the predictions give is not what `result.json` holds.
    """
    files = as_run_files(run)
    result, task = artifact_of(RunResult, files), config_of(files).task
    scores = metric_of(task.metric, task.labels).all_scores() if task.metric in METRICS else {}
    if result.reported not in scores:
        testable = ", ".join(f"{metric}: {' '.join(METRICS.get(metric).scores)}" for metric in METRICS.names())
        raise UntestableError(
            f"{files.place}: no test for {task.metric}'s {result.reported}; there is one for {testable}."
        )
    path = files.place / PREDICTIONS
    ids, rows = _read_split(files, result.results[0].split)
    try:
        predicted, true = TASK_KINDS.get(task.kind).arrays(task, result.reported, rows)
    except WRONG_ROWS as error:
        raise GeloraError(f"{path} is damaged: {error!r}. {REMEDY}") from error
    # SQuAD's labels are lists of answers; as tuples they can be compared and hashed.
    labels = tuple(tuple(row["label"]) if isinstance(row["label"], list) else row["label"] for row in rows)
    predictions = Predictions(
        directory=files.place,
        result=result,
        metric=(task.metric, result.reported),
        score=scores[result.reported],
        ids=ids,
        labels=labels,
        predicted=predicted,
        true=true,
        groups=_read_groups(path, rows),
    )
    _check_value(predictions)  # DONE covers the files, but not that they belong together
    return predictions


def without_damaged_predictions(collected: CollectedRuns) -> CollectedRuns:
    """Return the runs with those among the unused whose predictions can't be read."""
    readable, unused = [], list(collected.unused)
    for run in collected.runs:
        try:
            read_predictions(run.files)
        except UntestableError:
            readable.append(run)
        except GeloraError as error:
            unused.append(unreadable_run(run.files, error))
        else:
            readable.append(run)
    return CollectedRuns(tuple(readable), tuple(unused))


def _read_split(files: RunFiles, split: str) -> tuple[tuple[str, ...], list[PredictionRow]]:
    """Return the split's ids, sorted, and its rows in their order."""
    path = files.place / PREDICTIONS
    try:
        rows = files.prediction_rows(split)
        by_id = {str(row["id"]): row for row in rows}
        unlabelled = [row["id"] for row in rows if row["label"] is None]
        odd = [row["id"] for row in rows if not isinstance(row["id"], str | int)]
    except (OSError, RecursionError, *WRONG_ROWS) as error:
        raise GeloraError(f"{path} can't be read as predictions: {error!r}. {REMEDY}") from error
    problem = ""
    if not rows:
        problem = "no rows"
    elif odd:
        problem = f"{quote(odd[0])} for an id"
    elif unlabelled:
        problem = f"no label of {unlabelled[0]}"
    elif len(by_id) < len(rows):
        problem = "an id twice"
    if problem:
        raise GeloraError(f"{path}: {problem} of the split {split}. {REMEDY}")
    ids = tuple(sorted(by_id))  # one order for all runs, so that their arrays stand example by example
    return ids, [by_id[example_id] for example_id in ids]


def _read_groups(path: Path, rows: list[PredictionRow]) -> tuple[str, ...] | None:
    """Return the rows' groups; None where no row has one, as in predictions written before groups were."""
    groups = [row.get("group") for row in rows]
    if all(group is None for group in groups):
        return None
    if None in groups:
        example = rows[groups.index(None)]["id"]
        raise GeloraError(f"{path}: no group of {example}, though other rows have one. {REMEDY}")
    return tuple(map(str, groups))


def _check_value(predictions: Predictions) -> None:
    """Raise where the predictions give another value than `result.json` holds."""
    value = float(of_all(predictions.score, predictions.predicted, predictions.true)[0])
    reported = predictions.result.results[0].value
    if abs(value - reported) > TOLERANCE * max(1.0, abs(reported)):
        raise GeloraError(
            f"{predictions.directory / PREDICTIONS} gives {predictions.metric[1]} {value:.6f}, {RunResult.FILE} says "
            f"{reported:.6f}: one of them was changed. {REMEDY}"
        )
