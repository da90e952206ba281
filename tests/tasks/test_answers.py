"""The best spans of windows and questions, beside a search through all of them."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.distributed import make_accelerator
from gelora_cli.data.collate import collate
from gelora_cli.data.windows import EncodedWindows, encode_windows
from gelora_cli.models.heads import SpanHead
from gelora_cli.models.load import load_model
from gelora_cli.models.locate import resolve_model
from gelora_cli.models.tokenizer import load_tokenizer
from gelora_cli.tasks import answers
from gelora_cli.training.evaluation import evaluate, forward, prediction_rows
from tests.helpers.squad_cases import LONG, TASK, V2, split_of
from tests.helpers.tiny import make_tokenizer


def windows() -> EncodedWindows:
    rows = [("which?", LONG, "number 17"), ("who?", "the cat", "cat"), ("what?", "a dog ran after  the bird", None)]
    return encode_windows(split_of(*rows), make_tokenizer("bert"), V2)


def logits(encoded: EncodedWindows, seed: int = 0) -> tuple[Any, Any]:
    """Draw start and end logits of every window, padded to the longest, and the batch of all of them."""
    batch = collate(encoded, np.arange(len(encoded)), 0, torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    shape = batch.inputs["input_ids"].shape
    start, end = (torch.randn(shape, generator=generator) for _ in range(2))
    return SimpleNamespace(start_logits=start, end_logits=end), batch


def all_spans(encoded: EncodedWindows, window: int, output: Any, longest: int) -> list[tuple[float, int, int]]:
    inside = np.flatnonzero(encoded.chars[encoded.offsets[window] : encoded.offsets[window + 1], 0] >= 0)
    low, high = int(inside[0]), int(inside[-1]) + 1
    return sorted(
        (float(output.start_logits[window, first] + output.end_logits[window, last]), first, last)
        for first in range(low, high)
        for last in range(first, min(high, first + longest))
    )[::-1]


@pytest.mark.parametrize(("n_best", "longest"), [(5, 8), (1, 1), (20, 30), (200, 3)])
def test_the_best_spans_of_a_window_are_those_of_a_search_through_all(n_best: int, longest: int) -> None:
    task = TaskConfig(**(vars(V2) | {"n_best": n_best, "max_answer_length": longest}))
    encoded = windows()
    output, batch = logits(encoded)
    values = answers.reduce_windows(output, batch, encoded, task).numpy()
    assert values.shape == (len(encoded), answers.reduced_width(task))
    for window, row in enumerate(values):
        null = encoded.null[window]
        assert row[0] == pytest.approx(float(output.start_logits[window, null] + output.end_logits[window, null]))
        expected = all_spans(encoded, window, output, longest)[:n_best]
        scores, first, last = row[1:].reshape(3, n_best)
        count = int((first >= 0).sum())
        assert count == len(expected)
        assert scores[:count] == pytest.approx([span[0] for span in expected], abs=1e-6)
        assert list(zip(first[:count], last[:count], strict=True)) == [span[1:] for span in expected]


def test_a_question_takes_the_best_of_its_windows_and_the_lowest_null_score() -> None:
    encoded = windows()
    output, batch = logits(encoded)
    values = answers.reduce_windows(output, batch, encoded, V2).numpy()
    found = answers.decode_answers(encoded, values, V2)
    assert [row.id for row in found] == ["q0", "q1", "q2"]
    for question, row in enumerate(found):
        mine = np.flatnonzero(encoded.question_row == question)
        best = max(all_spans(encoded, int(window), output, 8)[0][0] for window in mine)
        assert row.spans[0].score == pytest.approx(best, abs=1e-6)
        assert row.null == pytest.approx(values[mine, 0].min())
        assert [span.score for span in row.spans] == sorted((span.score for span in row.spans), reverse=True)
        assert len({(span.start, span.end) for span in row.spans}) == len(row.spans) <= 5
        context = encoded.source.contexts[question]
        assert all(span.text == context[span.start : span.end] == span.text.strip() for span in row.spans)


def test_no_answer_wins_above_the_threshold_only_where_it_may() -> None:
    spans = (answers.Span(2.0, 0, 3, "cat"), answers.Span(1.0, 4, 7, "sat"))
    silent, spoken, even = (answers.PredictedAnswer("q", spans, null) for null in (2.5, 1.5, 2.0))
    assert [row.text(unanswerable=True) for row in (silent, spoken, even)] == ["", "cat", "cat"]
    assert silent.text(unanswerable=False) == "cat"
    odds = [answers.no_answer_probability(row) for row in (silent, spoken, even)]
    assert odds == pytest.approx([1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(0.5)), 0.5])
    files = answers.official_files([silent], V2)
    assert files["predictions.json"] == {"q": ""}
    assert [row["text"] for row in files["nbest.json"]["q"]] == ["", "cat", "sat"]
    assert sum(row["probability"] for row in files["nbest.json"]["q"]) == pytest.approx(1)
    assert files["na_prob.json"]["q"] == pytest.approx(odds[0])
    plain = answers.official_files([silent], TASK)
    assert plain.keys() == {"predictions.json", "nbest.json"}
    assert [row["text"] for row in plain["nbest.json"]["q"]] == ["cat", "sat"]


def test_a_model_that_knows_the_answers_scores_full_marks() -> None:
    # Logits of 1 at every target: what comes back through windows and texts is the gold answer.
    encoded = windows()
    output, batch = logits(encoded)
    assert encoded.labels is not None
    for logit, column in ((output.start_logits, 0), (output.end_logits, 1)):
        logit.zero_()
        logit[torch.arange(len(encoded)), torch.from_numpy(encoded.labels[:, column])] = 1.0
    values = answers.reduce_windows(output, batch, encoded, V2).numpy()
    evaluated = evaluate(V2_SCORED, encoded, values, 0.0)
    assert evaluated.result.metrics["exact_match"] == evaluated.result.metrics["f1"] == 100
    assert evaluated.result.examples == 3
    assert not evaluated.result.collapsed
    assert evaluated.files["predictions.json"] == {"q0": "number 17", "q1": "cat", "q2": ""}
    assert [row["prediction"] for row in evaluated.rows] == ["number 17", "cat", ""]
    assert [row["label"] for row in evaluated.rows] == [["number 17"], ["cat"], []]


V2_SCORED = TaskConfig(**(vars(V2) | {"metric": "squad_v2", "reported": "f1"}))


def test_blanks_are_no_answer_and_what_is_not_finite_is_collapsed() -> None:
    # A tokenizer with tokens of blanks: no span begins or ends there, however high its logits.
    encoded = encode_windows(split_of(("who?", "the   cat \t sat", "cat")), make_tokenizer("roberta"), TASK)
    blank = np.flatnonzero((encoded.chars[:, 1] == encoded.chars[:, 0]) & (encoded.chars[:, 0] >= 0))
    assert len(blank)
    output, batch = logits(encoded)
    output.start_logits[0, blank] = output.end_logits[0, blank] = 50.0
    task = TaskConfig(**(vars(TASK) | {"n_best": 1, "metric": "squad", "reported": "f1"}))
    (found,) = answers.decode_answers(encoded, answers.reduce_windows(output, batch, encoded, task).numpy(), task)
    assert found.spans[0].text.strip()
    assert found.spans[0].score < 40
    output.start_logits[:] = torch.nan
    values = answers.reduce_windows(output, batch, encoded, task).numpy()
    assert evaluate(task, encoded, values, 0.0).result.collapsed
    diverged = evaluate(V2_SCORED, encoded, answers.reduce_windows(output, batch, encoded, V2).numpy(), 0.0).result
    assert diverged.collapsed
    assert all(map(math.isfinite, diverged.metrics.values()))


def test_batches_change_no_answer(tiny_models: dict[str, Path]) -> None:
    resolved = resolve_model(hub=None, path=str(tiny_models["bert"]))
    model = load_model(resolved, SpanHead(), seed=0).model
    encoded = encode_windows(windows().source, load_tokenizer(resolved), V2)
    accelerator = make_accelerator("float32")
    found = [
        prediction_rows(
            V2, encoded, forward(model, encoded, V2, batch_size=size, pad_token_id=0, accelerator=accelerator)
        )
        for size in (1, 64)
    ]
    for one, other in zip(*found, strict=True):
        assert one["prediction"] == other["prediction"]
        assert one["scores"] == pytest.approx(other["scores"], rel=1e-4)
