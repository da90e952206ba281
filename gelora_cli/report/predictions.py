"""The predictions of a finished run, as arrays that its task's metric can be computed of; no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gelora_cli.config.files import read_config
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METRICS, TASK_KINDS
from gelora_cli.core.run_files import CONFIG, PREDICTIONS
from gelora_cli.metrics.definitions import Array, Score, of_all

Row = dict[str, Any]
REDO = "Restore it, or do the run again with force=true."


@dataclass(frozen=True)
class Predicted:
    """A run on the split that decides, its examples in the order of their ids.

    `labels` are the right answers as the file has them. `predicted` and `true` (n,) are what `score`, the task's
    reported metric, takes: classes by number, scores, or of SQuAD the questions' points and zeros. `groups` are the
    names of what examples belong to (articles), None of a run whose predictions name none.
    """

    directory: Path
    result: RunResult
    metric: tuple[str, str]
    ids: tuple[str, ...]
    labels: tuple[Any, ...]
    predicted: Array
    true: Array
    groups: tuple[str, ...] | None = None

    @property
    def score(self) -> Score:
        """The reported metric."""
        return METRICS.get(self.metric[0]).scores[self.metric[1]]


def read_predictions(directory: Path) -> Predicted:
    """The predictions of the first split in `result.json`.

    Raises:
        GeloraError: a file is missing or damaged, the reported value can't be computed of resamples, or what the
            predictions give is not what `result.json` holds.
    """
    result = read_artifact(RunResult, directory / RunResult.FILE)
    task = read_config(directory / CONFIG).task
    if task.metric not in METRICS or result.reported not in METRICS.get(task.metric).scores:
        known = ", ".join(f"{metric}: {' '.join(METRICS.get(metric).scores)}" for metric in METRICS.names())
        raise GeloraError(f"{directory}: no test for {task.metric}'s {result.reported}; there is one for {known}.")
    ids, rows = _rows(directory / PREDICTIONS, result.results[0].split)
    try:
        predicted, true = TASK_KINDS.get(task.kind).arrays(task, result.reported, rows)
    except (KeyError, TypeError, ValueError) as error:
        raise GeloraError(f"{directory / PREDICTIONS} is damaged: {error!r}. {REDO}") from error
    found = Predicted(
        directory,
        result,
        (task.metric, result.reported),
        ids,
        tuple(_frozen(row["label"]) for row in rows),
        predicted,
        true,
        _groups(directory / PREDICTIONS, rows),
    )
    _compare(found)
    return found


def _rows(path: Path, split: str) -> tuple[tuple[str, ...], list[Row]]:
    """The split's ids, sorted, and its rows in their order."""
    try:
        text = path.read_text(encoding="utf-8").strip("\n").replace("\n", ",")  # within a row it is written as \\n
        rows = [row for row in json.loads(f"[{text}]") if row["split"] == split]
        found = {str(row["id"]): row for row in rows}
        unlabelled = [row["id"] for row in rows if row["label"] is None]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GeloraError(f"{path} can't be read as predictions: {error!r}. {REDO}") from error
    if not rows or unlabelled or len(found) < len(rows):
        what = "no rows" if not rows else f"no label of {unlabelled[0]}" if unlabelled else "an id twice"
        raise GeloraError(f"{path}: {what} of the split {split}. {REDO}")
    ids = tuple(sorted(found))
    return ids, [found[number] for number in ids]


def _groups(path: Path, rows: list[Row]) -> tuple[str, ...] | None:
    """The rows' groups; None where no row has one, as in predictions written before groups were."""
    groups = [row.get("group") for row in rows]
    if all(group is None for group in groups):
        return None
    if None in groups:
        raise GeloraError(f"{path}: no group of {rows[groups.index(None)]['id']}, though other rows have one. {REDO}")
    return tuple(map(str, groups))


def _frozen(label: object) -> object:
    return tuple(label) if isinstance(label, list) else label


def _compare(found: Predicted) -> None:
    given, wanted = float(of_all(found.score, found.predicted, found.true)[0]), found.result.results[0].value
    if abs(given - wanted) > 1e-6 * max(1.0, abs(wanted)):
        raise GeloraError(
            f"{found.directory / PREDICTIONS} gives {found.metric[1]} {given:.6f}, {RunResult.FILE} says {wanted:.6f}: "
            f"one of them was changed. {REDO}"
        )
