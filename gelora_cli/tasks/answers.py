"""From start and end logits to the answers of questions: the best spans of each window, then of each question."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gelora_cli.config.schema import TaskConfig
from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.windows import EncodedWindows
from gelora_cli.tasks.base import Floats

if TYPE_CHECKING:
    import torch

    from gelora_cli.data.collate import Batch


@dataclass(frozen=True)
class Span:
    """A candidate: score (sum of its start and end logit), characters of the context, text."""

    score: float
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Answered:
    """What the model says to one question: its n best spans, best first, and the score of "no answer"."""

    id: str
    spans: tuple[Span, ...]
    null: float

    @property
    def difference(self) -> float:
        """The null score minus the best span's; above 0 "no answer" wins."""
        return self.null - self.spans[0].score

    def text(self, *, unanswerable: bool) -> str:
        """The answer, empty where there may be none and "no answer" wins (threshold 0)."""
        return "" if unanswerable and self.difference > 0 else self.spans[0].text


def width(task: TaskConfig) -> int:
    """Numbers kept of a window: the null score, then scores, first and last tokens of its n best spans."""
    return 1 + 3 * int(task.n_best)


def reduce_windows(output: Any, batch: Batch, split: EncodedWindows, task: TaskConfig) -> torch.Tensor:
    """Of start and end logits (B, T), the exact n best spans of each window, (B, 1 + 3 n) float32.

    A span lies in the context, has at most `task.max_answer_length` tokens and blanks at neither end; its score is the
    sum of its two logits. Where a window has fewer than n spans, the rest has first token -1 and no score to speak of.
    """
    import torch

    from gelora_cli.data.collate import pad_token_values

    start, end = output.start_logits.float(), output.end_logits.float()  # (B, T)
    null = torch.from_numpy(split.null[batch.rows]).to(start.device)[:, None]  # (B, 1)
    null_score = start.gather(1, null) + end.gather(1, null)
    chars = pad_token_values(split, batch.rows, split.chars, -1)  # (B, T, 2)
    outside = torch.from_numpy(chars[:, :, 1] <= chars[:, :, 0]).to(start.device)  # (B, T): no context, or blanks
    longest = min(int(task.max_answer_length), start.shape[1])
    ends = torch.nn.functional.pad(end.masked_fill(outside, -math.inf), (0, longest - 1), value=-math.inf)
    scores = start.masked_fill(outside, -math.inf)[:, :, None] + ends.unfold(1, longest, 1)  # (B, T, longest)
    kept = min(int(task.n_best), scores[0].numel())
    best, index = scores.flatten(1).topk(kept)
    first = index // longest
    last = first + index % longest
    missing = ~torch.isfinite(best)
    best, first, last = best.masked_fill(missing, 0.0), first.masked_fill(missing, -1), last.masked_fill(missing, -1)
    return torch.cat([null_score, *(_filled(part.float(), task.n_best) for part in (best, first, last))], dim=1)


def _filled(values: torch.Tensor, size: int) -> torch.Tensor:
    """(B, k) to (B, size), with -1 behind."""
    import torch

    return torch.nn.functional.pad(values, (0, size - values.shape[1]), value=-1.0)


def scores_of(values: Floats, task: TaskConfig) -> Floats:
    """The scores alone, (n, 1 + n_best): what can be compared between two models."""
    return values[:, : 1 + int(task.n_best)]


def answer(split: EncodedWindows, values: Floats, task: TaskConfig) -> list[Answered]:
    """Every question's answer from the reduced values (windows, 1 + 3 n) of its windows.

    A span that several windows hold counts once, with its best score; the null score is the lowest of the windows'.
    """
    windows: list[list[int]] = [[] for _ in range(split.examples)]
    for window, question in enumerate(split.question_row.tolist()):
        windows[question].append(window)
    return [_answer(split, values, task, row, mine) for row, mine in enumerate(windows)]


def _answer(split: EncodedWindows, values: Floats, task: TaskConfig, row: int, windows: list[int]) -> Answered:
    found: dict[tuple[int, int], float] = {}
    for score, start, end in (span for window in windows for span in _spans(split, values[window], task, window)):
        found[start, end] = max(score, found.get((start, end), -math.inf))
    context = split.source.contexts[row]
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))[: task.n_best]
    spans = tuple(Span(score, start, end, context[start:end]) for (start, end), score in ordered)
    null = float(values[windows, 0].min())
    return Answered(str(split.source.ids[row]), spans or (Span(null, 0, 0, ""),), null)


def _spans(split: EncodedWindows, values: Floats, task: TaskConfig, window: int) -> Iterator[tuple[float, int, int]]:
    """Score, first character and the one behind the last of a window's spans."""
    scores, first, last = values[1:].reshape(3, int(task.n_best))
    chars = split.chars[split.offsets[window] : split.offsets[window + 1]]
    real = first >= 0
    starts, ends = chars[first[real].astype(int), 0].tolist(), chars[last[real].astype(int), 1].tolist()
    yield from zip(scores[real].tolist(), starts, ends, strict=True)


def probabilities(answered: Answered, task: TaskConfig) -> list[float]:
    """Softmax over the scores of the n best spans and, where there may be none, of "no answer" (last)."""
    scores = np.array([span.score for span in answered.spans] + ([answered.null] if task.unanswerable else []))
    weights = np.exp(scores - scores.max())
    return [float(value) for value in weights / weights.sum()]


def no_answer_probability(answered: Answered) -> float:
    """1 / (1 + exp(best span's score - null score)): above 0.5 where "no answer" wins at threshold 0."""
    return 1 / (1 + math.exp(min(-answered.difference, 700.0)))


def references(split: QuestionSplit) -> list[dict[str, Any]]:
    """The gold answers as the metrics take them."""
    labels = split.labels or [()] * len(split)
    return [
        {"id": str(number), "answers": {"text": [a.text for a in found], "answer_start": [a.start for a in found]}}
        for number, found in zip(split.ids, labels, strict=True)
    ]


def metric_row(answered: Answered, task: TaskConfig) -> dict[str, Any]:
    """A question's best span, and where there may be no answer its score, as the metrics take them."""
    row: dict[str, Any] = {"id": answered.id, "prediction_text": answered.spans[0].text}
    return row | ({"no_answer_score": answered.difference} if task.unanswerable else {})


def prediction_row(split: EncodedWindows, row: int, answered: Answered, task: TaskConfig) -> dict[str, Any]:
    """A line of `predictions.jsonl`: the scores are logits, `start` counts characters."""
    best = answered.spans[0]
    gold = None if split.source.labels is None else [answer.text for answer in split.source.labels[row]]
    scores = {"span": best.score, "start": best.start, "probability": probabilities(answered, task)[0]}
    if task.unanswerable:
        scores |= {"null": answered.null, "no_answer_probability": no_answer_probability(answered)}
    text = answered.text(unanswerable=task.unanswerable)
    return {"id": answered.id, "split": split.name, "prediction": text, "label": gold, "scores": scores}


def official_files(found: list[Answered], task: TaskConfig) -> dict[str, dict[str, Any]]:
    """`predictions.json` (id to text), `nbest.json` and, where there may be no answer, `na_prob.json`."""
    files: dict[str, dict[str, Any]] = {
        "predictions.json": {row.id: row.text(unanswerable=task.unanswerable) for row in found},
        "nbest.json": {row.id: _nbest(row, task) for row in found},
    }
    return files | (
        {"na_prob.json": {row.id: no_answer_probability(row) for row in found}} if task.unanswerable else {}
    )


def _nbest(answered: Answered, task: TaskConfig) -> list[dict[str, Any]]:
    """Spans, best first; where there may be no answer, that as the empty text in its place."""
    spans = [*answered.spans, *([Span(answered.null, 0, 0, "")] if task.unanswerable else [])]
    rows = [
        {"text": span.text, "score": span.score, "probability": probability, "start": span.start}
        for span, probability in zip(spans, probabilities(answered, task), strict=True)
    ]
    return sorted(rows, key=lambda row: -float(row["score"]))
