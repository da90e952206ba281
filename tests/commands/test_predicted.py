"""What `gelora predict` writes of each kind of task."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from gelora_cli.commands.prediction_files import prediction_text, with_inputs
from gelora_cli.config.schema import TaskConfig
from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.splits import TextSplit


def table(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


def test_labels_of_two_columns_one_with_a_name_that_is_taken() -> None:
    task = TaskConfig(columns=["id", "other"], labels=["no, never", "yes"])
    split = TextSplit("input", np.arange(1), (["a\nb"], ["c"]), None)
    row = {"id": 0, "split": "input", "prediction": "yes", "label": None, "scores": [-1000.0, 1000.0]}
    (found,) = with_inputs(task, split, [row])
    assert (found["id"], found["input_id"], found["other"]) == (0, "a\nb", "c")
    assert found["probabilities"] == {"no, never": 0.0, "yes": 1.0}
    (cells,) = table(prediction_text([found], Path("out.CSV")))
    assert cells["input_id"] == "a\nb"
    assert (cells["label"], cells["probability_no, never"], cells["probability_yes"]) == ("", "0.0", "1.0")
    (cells,) = table(prediction_text([found], Path("out.tsv")), "\t")
    assert cells["prediction"] == "yes"


def test_scores_have_no_probabilities() -> None:
    task = TaskConfig(kind="regression", columns=["text"])
    split = TextSplit("input", np.arange(1), (["a"],), None)
    row = {"id": 0, "split": "input", "prediction": 2.5, "label": None, "scores": [2.5]}
    (found,) = with_inputs(task, split, [row])
    assert "probabilities" not in found
    assert table(prediction_text([found], Path("out.csv")))[0] == {
        "id": "0",
        "split": "input",
        "text": "a",
        "prediction": "2.5",
        "label": "",
    }


@pytest.mark.parametrize("scores", [{"probability": 0.7}, {"probability": 0.7, "no_answer_probability": 0.2}])
def test_answers_carry_question_context_and_probability(scores: dict[str, float]) -> None:
    split = QuestionSplit("input", ["q1"], ["Who?"], ["By Ada."], None)
    row = {"id": "q1", "split": "input", "prediction": "Ada", "label": ["Ada"], "scores": {"span": 1.0, **scores}}
    (found,) = with_inputs(TaskConfig(kind="question_answering"), split, [row])
    (cells,) = table(prediction_text([found], Path("out.csv")))
    assert (cells["question"], cells["context"], cells["label"]) == ("Who?", "By Ada.", '["Ada"]')
    assert {name: float(cells[name]) for name in scores} == scores
