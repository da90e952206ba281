"""The steps of transformers' example `run_qa` (examples/pytorch/question-answering), which no package ships.

Written anew from its description, step by step, so that what is timed does the same work: features by
`datasets.map` over a thousand questions at a time, which lie in Arrow files; labels by walking over the tokens of a
window; answers by the products of the `n_best` start and `n_best` end logits of each window, sorted in Python.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, Sequence, Value
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from gelora_cli.config.schema import TaskConfig
from gelora_cli.data.questions import QuestionSplit

Columns = dict[str, Any]
"""Columns of a batch, as `datasets` gives and takes them."""

CONTEXT = 1
"""What `sequence_ids` says of tokens of the second text."""

ANSWERS = {"text": Sequence(Value("string")), "answer_start": Sequence(Value("int32"))}
COLUMNS = Features({"id": Value("string"), "question": Value("string"), "context": Value("string"), "answers": ANSWERS})


def as_dataset(split: QuestionSplit) -> Dataset:
    """Return questions as the hub's SQuAD has them."""
    answers = []
    for row in split.labels or ():
        answers.append({"text": [one.text for one in row], "answer_start": [one.start for one in row]})
    columns = {"id": list(split.ids), "question": split.questions, "context": split.contexts, "answers": answers}
    return Dataset.from_dict(columns, features=COLUMNS)


def map_features(
    questions: Dataset, tokenizer: PreTrainedTokenizerBase, task: TaskConfig, cache: Path, *, training: bool
) -> Dataset:
    """Return the features of questions, for training or for evaluation, from an Arrow file in `cache`."""
    make = training_features if training else evaluation_features
    return questions.map(
        lambda batch: make(batch, tokenizer, task),
        batched=True,
        remove_columns=questions.column_names,
        load_from_cache_file=False,
        cache_file_name=str(cache / f"{make.__name__}.arrow"),
        desc=None,
    )


def _tokenize(batch: Columns, tokenizer: PreTrainedTokenizerBase, task: TaskConfig) -> Any:
    return tokenizer(
        [question.lstrip() for question in batch["question"]],
        batch["context"],
        truncation="only_second",
        max_length=task.max_length,
        stride=task.stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding="max_length",
    )


def training_features(batch: Columns, tokenizer: PreTrainedTokenizerBase, task: TaskConfig) -> Any:
    """Return windows with the first and last token of the answer; the first token twice where it is not in them."""
    encoded = _tokenize(batch, tokenizer, task)
    samples, offsets = encoded.pop("overflow_to_sample_mapping"), encoded.pop("offset_mapping")
    encoded["start_positions"], encoded["end_positions"] = [], []
    for window, spans in enumerate(offsets):
        null = encoded["input_ids"][window].index(tokenizer.cls_token_id)
        answers = batch["answers"][samples[window]]
        first, last = null, null
        if answers["answer_start"]:
            first, last = _token_span(answers, spans, encoded.sequence_ids(window), null)
        encoded["start_positions"].append(first)
        encoded["end_positions"].append(last)
    return encoded


def _token_span(
    answers: Mapping[str, Any], spans: list[tuple[int, int]], parts: list[int | None], null: int
) -> tuple[int, int]:
    """Walk from both ends of the context in a window to the first answer."""
    begin = answers["answer_start"][0]
    end = begin + len(answers["text"][0])
    first, last = 0, len(spans) - 1
    while parts[first] != CONTEXT:
        first += 1
    while parts[last] != CONTEXT:
        last -= 1
    if spans[first][0] > begin or spans[last][1] < end:
        return null, null
    while first < len(spans) and spans[first][0] <= begin:
        first += 1
    while spans[last][1] >= end:
        last -= 1
    return first - 1, last + 1


def evaluation_features(batch: Columns, tokenizer: PreTrainedTokenizerBase, task: TaskConfig) -> Any:
    """Return windows with the id of their question, and the characters of tokens in the context; None of others."""
    encoded = _tokenize(batch, tokenizer, task)
    samples = encoded.pop("overflow_to_sample_mapping")
    encoded["example_id"] = [batch["id"][sample] for sample in samples]
    for window, spans in enumerate(encoded["offset_mapping"]):
        parts = encoded.sequence_ids(window)
        encoded["offset_mapping"][window] = [
            span if part == CONTEXT else None for span, part in zip(spans, parts, strict=True)
        ]
    return encoded


def answer_questions(
    questions: Dataset, features: Dataset, logits: tuple[NDArray[np.float32], NDArray[np.float32]], task: TaskConfig
) -> tuple[dict[str, str], dict[str, list[dict[str, Any]]]]:
    """Return the text of each answer, and its n best with their probabilities.

    Args:
        questions: n questions.
        features: their windows.
        logits: of starts and ends, each (windows, T).
        task: lengths and number of spans.
    """
    place = {number: index for index, number in enumerate(questions["id"])}
    windows_of: dict[int, list[int]] = defaultdict(list)
    for window, feature in enumerate(features):
        windows_of[place[feature["example_id"]]].append(window)
    texts: dict[str, str] = {}
    n_best: dict[str, list[dict[str, Any]]] = {}
    for index, question in enumerate(questions):
        candidates: list[dict[str, Any]] = []
        for window in windows_of[index]:
            spans = features[window]["offset_mapping"]
            candidates += _candidates(logits[0][window], logits[1][window], spans, task)
        best = sorted(candidates, key=lambda one: one["score"], reverse=True)[: task.n_best]
        for one in best:
            begin, end = one.pop("offsets")
            one["text"] = question["context"][begin:end]
        if not best or (len(best) == 1 and not best[0]["text"]):
            best.insert(0, {"text": "empty", "start_logit": 0.0, "end_logit": 0.0, "score": 0.0})
        scores = np.array([one.pop("score") for one in best])
        weights = np.exp(scores - scores.max())
        for one, probability in zip(best, weights / weights.sum(), strict=True):
            one["probability"] = probability
        texts[question["id"]] = best[0]["text"]
        n_best[question["id"]] = [_plain_values(one) for one in best]
    return texts, n_best


def _candidates(
    start: NDArray[np.float32], end: NDArray[np.float32], spans: list[list[int] | None], task: TaskConfig
) -> list[dict[str, Any]]:
    """Return the spans between the best starts and the best ends of one window."""
    last_tokens = np.argsort(end)[-1 : -task.n_best - 1 : -1].tolist()
    found = []
    for first in np.argsort(start)[-1 : -task.n_best - 1 : -1].tolist():
        for last in last_tokens:
            first_span, last_span = spans[first], spans[last]
            if first_span is None or last_span is None:
                continue
            if last < first or last - first + 1 > task.max_answer_length:
                continue
            found.append(
                {
                    "offsets": (first_span[0], last_span[1]),
                    "score": start[first] + end[last],
                    "start_logit": start[first],
                    "end_logit": end[last],
                }
            )
    return found


def _plain_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with numpy's numbers as Python's, as JSON takes them."""
    return {key: float(value) if isinstance(value, np.floating) else value for key, value in values.items()}
