"""Predictions on a split, each example exactly once on any number of processes, and their metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gelora_cli.core.artifacts import EvalResult
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.runtime import gather_rows
from gelora_cli.data.collate import Batch, collate
from gelora_cli.data.splits import EncodedSplit, sorted_batches
from gelora_cli.metrics.base import load_metric
from gelora_cli.tasks import answers
from gelora_cli.tasks.answers import Answered

if TYPE_CHECKING:
    from accelerate import Accelerator

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Verdict:
    """Whether predictions say nothing (`collapsed`), and what a reader must know of them (terms: `EvalResult`)."""

    collapsed: bool = False
    remark: str = ""


@dataclass(frozen=True)
class TaskKind:
    """What a kind of task makes of a model's outputs.

    `reduce(output, batch, split, task)` keeps `width(task)` numbers of each row, (B, width) float32; `scores` are
    those of them that two models can be compared by. `decode` makes predictions of the numbers of all rows,
    (n, width); of these come the metrics and a `Verdict` on the predictions, one line per example for
    `predictions.jsonl`, and files of the task's own.
    """

    width: Callable[[Any], int]
    reduce: Callable[[Any, Batch, Any, Any], torch.Tensor]
    scores: Callable[[Floats, Any], Floats]
    decode: Callable[[Any, Floats, Any], Any]
    judge: Callable[[Any, Any, Any], tuple[dict[str, float], Verdict]]
    rows: Callable[[Any, Any, Any], list[dict[str, Any]]]
    files: Callable[[Any, Any], dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Judged:
    """A split's metrics, a line per example, and files of the task's own by name."""

    result: EvalResult
    rows: list[dict[str, Any]]
    files: dict[str, dict[str, Any]]


def forward(
    model: nn.Module, split: EncodedSplit, task: Any, *, batch_size: int, pad_token_id: int, accelerator: Accelerator
) -> Floats:
    """What the task keeps of the model's outputs on every row of the split, in its order, on every process.

    Raises:
        GeloraError: a row came back twice or not at all.
    """
    kind = TASK_KINDS[task.kind]
    model.eval()
    device = accelerator.device
    rows: list[torch.Tensor] = [torch.zeros(0, dtype=torch.long, device=device)]
    parts: list[torch.Tensor] = [torch.zeros(0, kind.width(task), device=device)]
    with torch.inference_mode():
        batches = sorted_batches(split.lengths, batch_size)
        for batch_rows in batches[accelerator.process_index :: accelerator.num_processes]:
            batch = collate(split, batch_rows, pad_token_id, device)
            parts.append(kind.reduce(model(**batch.inputs), batch, split, task))
            rows.append(torch.from_numpy(batch_rows).to(device))
        gathered = gather_rows(accelerator, torch.cat(parts)).cpu().numpy()
        order = gather_rows(accelerator, torch.cat(rows)).cpu().numpy()
    if not np.array_equal(np.sort(order), np.arange(len(split))):
        raise GeloraError(f"{split.name}: {len(order)} predictions for {len(split)} rows, or some twice")
    return gathered[np.argsort(order)]


def judge(task: Any, split: EncodedSplit, values: Floats, started: float) -> Judged:
    """The task's metrics and files of these values; `started` is the clock's reading before the forward pass."""
    if split.labels is None:
        raise GeloraError(f"{split.name} has no labels: use gelora predict for it")
    kind = TASK_KINDS[task.kind]
    decoded = kind.decode(split, values, task)
    metrics, verdict = kind.judge(task, split, decoded)
    result = EvalResult(
        split=split.name,
        examples=split.examples,
        metrics=metrics,
        reported=task.reported,
        collapsed=verdict.collapsed,
        seconds=time.perf_counter() - started,
        remark=verdict.remark,
    )
    return Judged(result, _with_groups(split, kind.rows(task, split, decoded)), kind.files(task, decoded))


def _with_groups(split: EncodedSplit, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the name of each one's group, by which differences are tested; as they are where there is none."""
    if split.group_names is None:
        return rows
    return [row | {"group": name} for row, name in zip(rows, split.group_names, strict=True)]


def prediction_rows(task: Any, split: EncodedSplit, values: Floats) -> list[dict[str, Any]]:
    """One row per example for `predictions.jsonl`: id, split, prediction, label if known, and the scores."""
    kind = TASK_KINDS[task.kind]
    return kind.rows(task, split, kind.decode(split, values, task))


def comparable(task: Any, values: Floats) -> Floats:
    """Those of the values by which two models can be compared."""
    return TASK_KINDS[task.kind].scores(values, task)


def decide(task: Any, logits: Floats) -> NDArray[np.int64] | Floats:
    """The class with the largest logit, (n,) int64; for a score the value itself, (n,) float32."""
    return logits[:, 0] if task.kind == "regression" else logits.argmax(1)


def is_constant(predictions: NDArray[Any], labels: NDArray[Any]) -> bool:
    """Whether one value is predicted for every row where the labels hold several.

    Scores that differ by a few roundings of float32 are one value: batches of other lengths sum in another order.
    """
    if len(np.unique(labels)) < 2:
        return False
    if predictions.dtype.kind == "f":
        return bool(np.ptp(predictions) <= 4 * np.finfo(np.float32).eps * np.abs(predictions).max())
    return len(np.unique(predictions)) == 1


def _judge_labels(task: Any, split: EncodedSplit, logits: Floats) -> tuple[dict[str, float], Verdict]:
    predictions: Any = decide(task, logits)
    labels: Any = split.labels
    metric = load_metric(task.metric)
    metric.add_batch(predictions=predictions, references=labels)
    values = {name: float(value) for name, value in metric.compute().items()}
    odd = int((~np.isfinite(logits)).any(axis=1).sum())
    if odd:
        return values, Verdict(True, f"collapsed: {odd:,} of {len(logits):,} predictions are no finite numbers")
    if task.kind == "regression":
        return values, score_verdict(predictions, labels)
    accuracy = values[task.reported] if task.reported == "accuracy" else None
    return values, label_verdict(predictions, labels, accuracy)


def label_verdict(predictions: NDArray[np.int64], labels: NDArray[Any], accuracy: float | None) -> Verdict:
    """What predicted classes (n,) say beside the labels (n,); `accuracy` is that of a task that reports it.

    The share of the most common label is what a model that looks at nothing reaches.
    """
    share = float(np.bincount(labels).max()) / len(labels)
    if share == 1:
        return Verdict(False, f"one label for all {len(labels):,} rows of the data, so the value says little")
    if is_constant(predictions, labels):
        reached = float((labels == predictions[0]).mean())
        is_majority = reached == share
        known = "that label's share" if is_majority else f"that label's share, {share:.4f} the most common one's"
        return Verdict(True, f"collapsed: one label for all {len(labels):,} rows ({reached:.4f} is {known})")
    if accuracy is not None and accuracy <= share:
        return Verdict(False, f"the value to beat is {share:.4f}, the share of the most common label: it is not beaten")
    return Verdict()


def score_verdict(predictions: Floats, labels: Floats) -> Verdict:
    """What predicted scores (n,) say beside the labels (n,)."""
    low, high = float(labels.min()), float(labels.max())
    seen = f"predicted {predictions.min():.6g} to {predictions.max():.6g}, labels {low:.6g} to {high:.6g}"
    if low == high:
        return Verdict(False, f"one score for all {len(labels):,} rows of the data, so no correlation can be measured")
    if is_constant(predictions, labels):
        return Verdict(True, f"collapsed: one score for all {len(labels):,} rows ({seen})")
    if ((predictions < low) | (predictions > high)).all():
        return Verdict(True, f"collapsed: every prediction lies outside the range of the labels ({seen})")
    return Verdict()


def _label_rows(task: Any, split: EncodedSplit, logits: Floats) -> list[dict[str, Any]]:
    decided = decide(task, logits).tolist()
    labels = [None] * len(split) if split.labels is None else split.labels.tolist()
    ids = np.asarray(split.ids).tolist()
    return [
        {"id": number, "split": split.name, "prediction": _shown(task, decision), "label": _shown(task, label)}
        | {"scores": scores}
        for number, decision, label, scores in zip(ids, decided, labels, logits.tolist(), strict=True)
    ]


def _shown(task: Any, value: Any) -> Any:
    return task.labels[value] if task.labels and value is not None else value


def _judge_answers(task: Any, split: Any, found: list[Answered]) -> tuple[dict[str, float], Verdict]:
    metric = load_metric(task.metric)
    gold = answers.references(split.source)
    metric.add_batch(predictions=[answers.metric_row(row, task) for row in found], references=gold)
    if odd := [row for row in found if not math.isfinite(row.null)]:
        return metric.compute(), Verdict(True, f"collapsed: the scores of {len(odd):,} questions are no finite numbers")
    texts = np.array([row.text(unanswerable=task.unanswerable) for row in found])
    if not is_constant(texts, np.array([" / ".join(row["answers"]["text"]) for row in gold])):
        return metric.compute(), Verdict()
    return metric.compute(), Verdict(True, _one_answer(texts, gold))


def _one_answer(texts: NDArray[np.str_], gold: Sequence[dict[str, Any]]) -> str:
    """What is said of one text for every question; "no answer" has a share to compare the value with."""
    if texts[0]:
        return f"collapsed: one answer, {str(texts[0])[:40]!r}, for all {len(texts):,} questions"
    share = sum(not row["answers"]["text"] for row in gold) / len(gold)
    return f'collapsed: "no answer" for all {len(texts):,} questions ({share:.4f} of them have none)'


def _answer_rows(task: Any, split: Any, found: list[Answered]) -> list[dict[str, Any]]:
    return [answers.prediction_row(split, row, answered, task) for row, answered in enumerate(found)]


_TEXT = TaskKind(
    width=lambda task: len(task.labels) or 1,
    reduce=lambda output, batch, split, task: output.logits.float(),
    scores=lambda values, task: values,
    decode=lambda split, values, task: values,
    judge=_judge_labels,
    rows=_label_rows,
    files=lambda task, logits: {},
)
_ANSWERS = TaskKind(
    width=answers.width,
    reduce=answers.reduce_windows,
    scores=answers.scores_of,
    decode=answers.answer,
    judge=_judge_answers,
    rows=_answer_rows,
    files=lambda task, found: answers.official_files(found, task),
)

TASK_KINDS: dict[str, TaskKind] = {"classification": _TEXT, "regression": _TEXT, "question_answering": _ANSWERS}
