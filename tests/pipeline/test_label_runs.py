"""Unbalanced labels of one's own, from a run with class weights and macro F1 to its card, report and predictions."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_class_weight

from gelora_cli.commands.main import command_line
from gelora_cli.config.complete import complete
from gelora_cli.config.files import read_config
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.result import MOST_SHOWN, EvalResult
from gelora_cli.core.status import find_runs
from gelora_cli.pipeline.inputs import resolve_inputs
from gelora_cli.pipeline.session import open_quiet_session
from gelora_cli.pipeline.stage_settings import train_settings
from tests.helpers.bench import FAST, predictions, result_of
from tests.helpers.composed import composed
from tests.helpers.rows import rows

LABELS = ["ham", "odd | name", "spam"]
NAMES = ["f1_ham", "f1_odd-name", "f1_spam"]


@pytest.fixture
def words(tmp_path: Path, tiny_models: dict[str, Path]) -> list[str]:
    """Return the words of a run on 160 rows, of which few have the second and third label."""
    path = tmp_path / "mail.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "text"])
        for number, row in enumerate(rows("cola", 160, seed=1)):
            writer.writerow([LABELS[(number % 10 == 0) + 2 * (number % 10 == 5)], row["sentence"]])
    columns = ("task=text", "task.columns=[text]", "task.metric=macro_f1", "method=lora", "budget=rank:1")
    return [*columns, f"data.text={path}", f"model.path={tiny_models['bert']}", f"runs_dir={tmp_path / 'runs'}", *FAST]


def test_class_weights_and_macro_f1_from_a_file_to_the_report(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["run", *words]) == 0
    plain = [*find_runs(tmp_path / "runs")]
    weighted = [*words, "task.class_weights=balanced", "train.label_smoothing=0.1", "task.reported=f1_spam"]
    assert command_line(["run", *words, "task.class_weights=[0.5,4,4.5]"]) == 0
    (numbered,) = [path for path in find_runs(tmp_path / "runs") if path not in plain]
    assert read_config(numbered / run_files.CONFIG).task.class_weights == [0.5, 4.0, 4.5]
    assert command_line(["report", str(tmp_path / "runs"), f"output={tmp_path / 'report'}", "figures.draw=false"]) == 0
    table = (tmp_path / "report" / "table.md").read_text()
    assert r"lora (task.class_weights=\[0.5, 4.0, 4.5\])" in table  # what tells the two rows apart
    assert "values of each label" in table
    assert "| odd \\| name | f1_odd-name |" in table
    assert "f1_odd-name mean" in (tmp_path / "report" / "table.csv").read_text()
    capsys.readouterr()
    assert command_line(["run", *weighted]) == 0
    said = capsys.readouterr().out
    (directory,) = [path for path in find_runs(tmp_path / "runs") if path not in [*plain, numbered]]
    result = result_of(directory).results[0]
    held = predictions(directory)
    true, predicted = [row["label"] for row in held], [row["prediction"] for row in held]
    of_each = f1_score(true, predicted, labels=LABELS, average=None, zero_division=0)
    assert list(result.metrics) == ["accuracy", "macro_f1", *NAMES]
    assert [result.metrics[name] for name in NAMES] == pytest.approx(of_each)
    assert result.metrics["macro_f1"] == pytest.approx(np.mean(of_each))
    to_beat = f1_score(true, ["spam"] * len(true), labels=["spam"], average="macro")
    assert f"to beat:  f1_spam {to_beat:.4f} with one label for every example" in said
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1] | result.metrics == lines[-1]
    card = (directory / "README.md").read_text()
    assert f"| odd \\| name | f1_odd-name | {result.metrics['f1_odd-name']:.4f} |" in card
    assert "- class weights in the loss: balanced to the training rows. They shift the probabilities" in card
    assert "- label smoothing: 0.1" in card
    assert "class weights: ham 0.41" in (directory / "log.txt").read_text()


def test_weights_are_balanced_to_the_rows_that_a_run_trains_on(words: list[str]) -> None:
    more = ("task.class_weights=balanced", "data.max_train_examples=60", "protocol=split", "task.split=held_out")
    session = open_quiet_session(resolve_inputs(complete(composed(*words, *more))))
    labels = np.asarray(session.train_rows.labels)
    assert len(labels) == 60
    loss = train_settings(session).loss
    assert loss is train_settings(session).loss  # one object, whose weights are put on the device once
    found = loss.of_rows.settings.class_weights  # type: ignore[attr-defined]
    assert found == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=labels))


def test_all_that_is_wrong_with_labels_is_said_before_any_work(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong, messages in (
        (
            ["task.class_weights=[1,2]", "task.reported=f1_spm"],
            ("has 2 numbers for the 3 labels ham, odd | name, spam", "did you mean f1_spam?"),
        ),
        (["task.class_weights=balanced", "data.max_train_examples=4"], ("training rows has the label", "more rows")),
    ):
        assert command_line(["run", *words, *wrong]) == 2
        said = capsys.readouterr().err
        assert all(message in said for message in messages)
    assert not (tmp_path / "runs").exists()


def test_a_line_of_many_values_names_the_reported_one_and_counts_the_rest() -> None:
    metrics = {f"f1_{number}": number / 100 for number in range(100)}
    text = EvalResult("validation", 10, metrics, "f1_50", False, 0.0).in_words()
    assert text.endswith("f1_50 0.5000  and 88 more")
    assert text.count("f1_") == MOST_SHOWN
    few = EvalResult("validation", 10, {"f1": 0.5}, "f1", False, 0.0)
    assert few.in_words() == "f1 0.5000"


def test_probabilities_follow_the_weights(words: list[str]) -> None:
    # With all weights on one label, the mean loss is least where that label is likelier.
    session = open_quiet_session(resolve_inputs(complete(composed(*words, "task.class_weights=[1,1,50]"))))
    bias = torch.zeros(3, requires_grad=True)

    class Output:
        logits = bias.expand(len(session.train_rows), 3)

    labels = torch.tensor(np.asarray(session.train_rows.labels))
    optimizer = torch.optim.LBFGS([bias], max_iter=50)

    def closure() -> float:
        optimizer.zero_grad()
        loss = session.loss.of_rows(Output, None, labels).mean()  # type: ignore[arg-type]
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    counts = np.bincount(labels) * [1, 1, 50]
    assert bias.detach().softmax(0).numpy() == pytest.approx(counts / counts.sum(), abs=1e-3)
