"""From start and end logits to the answers of questions: the best spans of each window, then of each question.

Letters: B windows of a batch, T tokens of a window, L tokens of the longest answer, n best spans (`task.n_best`).
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gelora_cli.config.schema import TaskConfig
from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.windows import EncodedWindows
from gelora_cli.tasks.base import Floats, Row

if TYPE_CHECKING:
    import torch

    from gelora_cli.data.collate import Batch


class SpanOutput(Protocol):
    """The output of a question answering model for a batch."""

    start_logits: torch.Tensor  # (B, T)
    end_logits: torch.Tensor  # (B, T)


class Span(NamedTuple):
    """A candidate answer: score (start plus end logit), first character, the character behind the last, and text."""

    score: float
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class PredictedAnswer:
    """The prediction for one question: its n best spans, best first, and the score of "no answer"."""

    id: str
    spans: tuple[Span, ...]
    null: float

    @property
    def difference(self) -> float:
        """Return the null score minus the best span's score; "no answer" wins above 0."""
        return self.null - self.spans[0].score

    def text(self, *, unanswerable: bool) -> str:
        """Return the answer, which is empty if there may be none and "no answer" wins."""
        return "" if unanswerable and self.difference > 0 else self.spans[0].text


def reduced_width(task: TaskConfig) -> int:
    """Return how many numbers are kept of a window: the null score, then scores, first and last tokens of n spans."""
    return 1 + 3 * int(task.n_best)


def reduce_windows(output: SpanOutput, batch: Batch, split: EncodedWindows, task: TaskConfig) -> torch.Tensor:
    """Return the exact n best spans of each window, (B, 1 + 3 n) float32, from start and end logits.

    A span lies in the context, has at most `task.max_answer_length` tokens, and neither starts nor ends with a blank.
    Its score is the sum of its two logits. If a window has fewer than n spans, the others have first token -1, and
    their scores mean nothing.
    """
    import torch

    from gelora_cli.data.padding import pad_token_values

    # float32, since in bfloat16 the sums of many spans are equal and their order would be chance.
    start, end = output.start_logits.float(), output.end_logits.float()  # (B, T)
    null = torch.from_numpy(split.null[batch.rows]).to(start.device)[:, None]  # (B, 1)
    null_score = start.gather(1, null) + end.gather(1, null)  # (B, 1)
    chars = pad_token_values(split, batch.rows, split.chars, -1)  # (B, T, 2)
    outside = torch.from_numpy(chars[:, :, 1] <= chars[:, :, 0]).to(start.device)  # (B, T): not context, or blank
    longest = min(int(task.max_answer_length), start.shape[1])
    ends = torch.nn.functional.pad(end.masked_fill(outside, -math.inf), (0, longest - 1), value=-math.inf)
    # scores[b, t, k] is the score of the span from token t to token t + k.
    scores = start.masked_fill(outside, -math.inf)[:, :, None] + ends.unfold(1, longest, 1)  # (B, T, L)
    count = min(int(task.n_best), scores[0].numel())  # topk refuses more than there are
    best, index = scores.flatten(1).topk(count)  # (B, count)
    first = index // longest
    last = first + index % longest
    missing = ~torch.isfinite(best)  # spans with a masked token, of which the sum is -inf
    columns = [null_score]
    for values, filler in ((best, 0.0), (first, -1), (last, -1)):
        filled = values.masked_fill(missing, filler).float()
        columns.append(torch.nn.functional.pad(filled, (0, task.n_best - count), value=-1.0))  # (B, n)
    return torch.cat(columns, dim=1)


def comparable_scores(values: Floats, task: TaskConfig) -> Floats:
    """Return the scores alone, (windows, 1 + n), since positions of two models can't be subtracted."""
    return values[:, : 1 + int(task.n_best)]


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Pause the search for circles of objects, which looks through all answers again and again; they form none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_collection_paused()
def decode_answers(split: EncodedWindows, values: Floats, task: TaskConfig) -> list[PredictedAnswer]:
    """Return every question's answer from the reduced values (windows, 1 + 3 n) of its windows.

    A span that several windows contain counts once, with its best score. The null score is the lowest of the windows'.
    """
    windows_of_question: list[list[int]] = [[] for _ in range(split.examples)]
    for window, question in enumerate(split.question_row.tolist()):
        windows_of_question[question].append(window)
    chars = np.asarray(split.chars)  # (tokens, 2): an access to a memory map takes longer than one to a plain array
    offsets = split.offsets.tolist()
    decoded = []
    for question, windows in enumerate(windows_of_question):
        best_scores: dict[tuple[int, int], float] = {}
        for window in windows:
            for place, score in _spans_of_window(chars[offsets[window] :], values[window], task):
                best_scores[place] = max(score, best_scores.get(place, -math.inf))
        # By score, best first; equal scores by position, so that the order never depends on that of the windows.
        ordered = sorted([(-score, *place) for place, score in best_scores.items()])[: task.n_best]
        context = split.source.contexts[question]
        spans = tuple([Span(-negative, start, end, context[start:end]) for negative, start, end in ordered])
        null = float(values[windows, 0].min())
        # Without any span in the windows the empty text takes the place of the best one.
        decoded.append(PredictedAnswer(str(split.source.ids[question]), spans or (Span(null, 0, 0, ""),), null))
    return decoded


def _spans_of_window(
    chars: NDArray[np.int32], values: Floats, task: TaskConfig
) -> Iterator[tuple[tuple[int, int], float]]:
    """Return first character and the character behind the last, and the score, of each span of a window.

    Args:
        chars: the characters of each token, from the window's first token on, (tokens, 2).
        values: what `reduce_windows` returned of the window, (1 + 3 n,).
        task: the number of spans.
    """
    scores, first, last = values[1:].reshape(3, int(task.n_best))
    is_span = first >= 0
    if not is_span.all():
        scores, first, last = scores[is_span], first[is_span], last[is_span]
    starts = chars[first.astype(np.int64), 0].tolist()
    ends = chars[last.astype(np.int64), 1].tolist()
    return zip(zip(starts, ends, strict=True), scores.tolist(), strict=True)


def span_probabilities(answer: PredictedAnswer, task: TaskConfig) -> list[float]:
    """Return the softmax over the scores of the n best spans and, if there may be none, of "no answer" (last)."""
    scores = np.array([span.score for span in answer.spans] + ([answer.null] if task.unanswerable else []))
    weights = np.exp(scores - scores.max())  # the largest is subtracted, so that exp can't overflow
    return [float(value) for value in weights / weights.sum()]


def no_answer_probability(answer: PredictedAnswer) -> float:
    """Return 1 / (1 + exp(best span's score - null score)), which is above 0.5 if "no answer" wins."""
    return 1 / (1 + math.exp(min(-answer.difference, 700.0)))  # exp overflows above 709


def gold_references(split: QuestionSplit) -> list[dict[str, Any]]:
    """Return the gold answers in the form that the metrics take."""
    references = []
    for number, answers in zip(split.ids, split.labels or [()] * len(split), strict=True):
        texts = [answer.text for answer in answers]
        starts = [answer.start for answer in answers]
        references.append({"id": str(number), "answers": {"text": texts, "answer_start": starts}})
    return references


def metric_row(answer: PredictedAnswer, task: TaskConfig) -> dict[str, Any]:
    """Return a question's best span, and its score of "no answer" if there may be none, as the metrics take them."""
    row: dict[str, Any] = {"id": answer.id, "prediction_text": answer.spans[0].text}
    if task.unanswerable:
        row["no_answer_score"] = answer.difference
    return row


def prediction_row(split: EncodedWindows, question: int, answer: PredictedAnswer, task: TaskConfig) -> Row:
    """Return a line of `predictions.jsonl`, whose scores are logits and whose `start` counts characters."""
    best = answer.spans[0]
    gold = None if split.source.labels is None else [label.text for label in split.source.labels[question]]
    scores = {"span": best.score, "start": best.start, "probability": span_probabilities(answer, task)[0]}
    if task.unanswerable:
        scores |= {"null": answer.null, "no_answer_probability": no_answer_probability(answer)}
    text = answer.text(unanswerable=task.unanswerable)
    return {"id": answer.id, "split": split.name, "prediction": text, "label": gold, "scores": scores}


@_collection_paused()
def official_files(answers: list[PredictedAnswer], task: TaskConfig) -> dict[str, dict[str, Any]]:
    """Return `predictions.json` (id to text), `nbest.json` and, if there may be no answer, `na_prob.json`."""
    nbest: dict[str, Any] = {}
    for answer in answers:
        spans = list(answer.spans)
        if task.unanswerable:
            spans.append(Span(answer.null, 0, 0, ""))  # "no answer", last as in `span_probabilities`
        rows: list[dict[str, Any]] = [
            {"text": span.text, "score": span.score, "probability": probability, "start": span.start}
            for span, probability in zip(spans, span_probabilities(answer, task), strict=True)
        ]
        nbest[answer.id] = sorted(rows, key=lambda row: -float(row["score"]))
    files: dict[str, dict[str, Any]] = {
        "predictions.json": {answer.id: answer.text(unanswerable=task.unanswerable) for answer in answers},
        "nbest.json": nbest,
    }
    if task.unanswerable:
        files["na_prob.json"] = {answer.id: no_answer_probability(answer) for answer in answers}
    return files
