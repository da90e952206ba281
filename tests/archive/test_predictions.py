"""What each task kind keeps of a prediction is all that its metric reads, and nothing odd comes out of an archive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gelora_cli.archive.predictions import pack_predictions, unpack_predictions
from gelora_cli.archive.records import PackedPredictions, from_line, to_line
from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.tasks.base import WRONG_ROWS, Row
from gelora_cli.tasks.question_answering import QuestionAnswering


def row(number: int | str, prediction: object, label: object, scores: object, **more: object) -> Row:
    return {"id": number, "split": "validation", "prediction": prediction, "label": label, "scores": scores, **more}


LABELS = ["no", "yes", "per haps"]
SPAN = {"span": 2.5, "start": 4, "probability": 0.5, "null": 1.25, "no_answer_probability": 0.25}
KINDS: dict[str, tuple[TaskConfig, str, list[Row], list[Any]]] = {
    "classification": (
        TaskConfig(kind="classification", labels=LABELS, metric="accuracy"),
        "accuracy",
        [row(3, "yes", "yes", [0.1, 0.9]), row(1, "per haps", "no", [0.1, 0.9], group="a"), row(2, "no", "no", [])],
        [1, 2, 0],
    ),
    "regression": (
        TaskConfig(kind="regression", metric="pearson_spearman"),
        "pearson",
        [row("a", 0.30000000000000004, 0.5, [0.3]), row("b", None, 1.0, [None]), row("c", -2.0, 3.0, [-2.0])],
        [0.30000000000000004, None, -2.0],
    ),
    "multilabel": (
        TaskConfig(kind="multilabel", labels=LABELS, metric="multilabel_f1"),
        "micro_f1",
        [row(0, [], ["no"], [0.1] * 3), row(1, ["no", "per haps"], ["yes"], [0.1] * 3)],
        [[], [0, 2]],
    ),
    "question_answering": (
        TaskConfig(kind="question_answering", metric="squad"),
        "f1",
        [row("q1", "the\u2028Rhine \ud83d", ["the Rhine", "Rhine"], SPAN), row("q2", "a", ["b"], SPAN)],
        ["the\u2028Rhine \ud83d", "a"],
    ),
    "questions without answers": (
        TaskConfig(kind="question_answering", metric="squad_v2", unanswerable=True),
        "f1",
        [row("q1", "the Rhine", ["Rhine"], SPAN), row("q2", "", [], {**SPAN, "null": 7.0})],
        [["the Rhine", 1.25, 2.5], ["", 7.0, 2.5]],
    ),
    "generation": (
        TaskConfig(kind="generation", metric="completions", answer_marker="####"),
        "log_likelihood",
        [
            row(0, "4 #### 4", "#### 4", {"log_likelihood": -1.5, "tokens": 3, "new_tokens": 2, "at_limit": False}),
            row(1, "", "#### 5", {"log_likelihood": None, "tokens": 2, "new_tokens": 9, "at_limit": True}),
        ],
        [["4 #### 4", -1.5, 3], ["", None, 2]],
    ),
}


def round_trip(name: str) -> tuple[TaskConfig, str, list[Row], list[Row], PackedPredictions]:
    """Return task, reported value, the lines, the lines after a way through JSON, and their packed form."""
    task, reported, lines, _ = KINDS[name]
    ((rows, packed),) = pack_predictions(task, reported, lines)
    assert from_line(to_line(rows)) == rows
    return task, reported, lines, unpack_predictions(task, rows, packed), packed


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_keeps_what_its_metric_reads(name: str) -> None:
    task, reported, lines, unpacked, packed = round_trip(name)
    assert list(packed.values) == KINDS[name][3]
    other = {"log_likelihood": "exact_match"}.get(reported, reported)
    for value in (reported, other):
        for before, after in zip(
            TASK_KINDS.get(task.kind).arrays(task, value, lines),
            TASK_KINDS.get(task.kind).arrays(task, value, unpacked),
            strict=True,
        ):
            np.testing.assert_array_equal(before, after)
    for line, original in zip(unpacked, lines, strict=True):
        for key in ("id", "split", "prediction", "label", "group"):
            assert line.get(key) == original.get(key)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("classification", -1),
        ("classification", 3),
        ("classification", True),
        ("classification", "yes"),
        ("classification", None),
        ("multilabel", [3]),
        ("multilabel", 1),
        ("questions without answers", ["the Rhine"]),
        ("questions without answers", 1),
        ("generation", []),
        ("generation", None),
    ],
)
def test_a_value_that_no_run_has_is_refused(name: str, value: object) -> None:
    task, reported, lines, _ = KINDS[name]
    ((rows, packed),) = pack_predictions(task, reported, lines)
    for values in ((value, *packed.values[1:]), packed.values[1:]):
        with pytest.raises((ValueError, TypeError)):
            unpack_predictions(task, rows, replace(packed, values=values))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("regression", 10**400),
        ("question_answering", 5),
        ("questions without answers", ["the Rhine", 10**400, 1]),
        ("generation", ["4", -1.0, 10**400]),
    ],
)
def test_what_a_kind_raises_of_a_value_that_no_run_has_is_known(name: str, value: object) -> None:
    task, reported, lines, _ = KINDS[name]
    ((rows, packed),) = pack_predictions(task, reported, lines)
    unpacked = unpack_predictions(task, rows, replace(packed, values=(value, *packed.values[1:])))
    with pytest.raises(WRONG_ROWS):
        TASK_KINDS.get(task.kind).arrays(task, reported, unpacked)


def test_splits_stay_apart_and_rows_without_labels_are_packed() -> None:
    task, _, lines, _ = KINDS["classification"]
    other = [{**line, "split": "test", "label": None} for line in lines]
    (rows, _), (unlabelled, packed) = pack_predictions(task, "accuracy", [lines[0], *other, *lines[1:]])
    assert (rows.split, rows.ids, rows.groups) == ("validation", (3, 1, 2), (None, "a", None))
    assert unlabelled.labels == (None, None, None)
    assert [line["prediction"] for line in unpack_predictions(task, unlabelled, packed)] == ["yes", "per haps", "no"]


def test_a_kind_that_keeps_less_than_its_metric_reads_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    task, reported, lines, _ = KINDS["questions without answers"]
    monkeypatch.setattr(QuestionAnswering, "packed", lambda self, task, row: [row["prediction"], 9.0, 0.0])
    with pytest.raises(ValueError, match="the metric reads more of a row than `packed` of the kind keeps"):
        pack_predictions(task, reported, lines)
