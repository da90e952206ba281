"""Several labels per text through the commands: from a file of one's own to report, prediction, export and pipeline."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from gelora_cli.commands.main import command_line
from gelora_cli.config.files import read_config
from gelora_cli.core import run_files
from gelora_cli.core.status import find_runs
from gelora_cli.report.predictions import read_predictions
from tests.helpers.bench import FAST, predictions, result_of, with_overrides
from tests.helpers.label_sets import LABELS, labelled_texts, write_label_sets

F1_OF_LABELS = ["f1_asked", "f1_glad", "f1_sad"]
TEXTS = labelled_texts(120)


def given(place: Path, model: Path, file: Path, *more: str) -> list[str]:
    task = ["task=text", "task.kind=multilabel", "task.columns=[review]", f"data.text={file}"]
    fixed = [*task, f"model.path={model}", f"runs_dir={place / 'runs'}", "method=lora", "budget=rank:2", *FAST]
    return with_overrides(fixed, more)


def only(place: Path) -> Path:
    (directory,) = find_runs(place / "runs")
    return directory


def as_numbers(sets: list[list[str]]) -> Any:
    rows = []
    for labels in sets:
        rows.append([label in labels for label in LABELS])
    return np.array(rows, np.int64)


def test_from_a_file_of_ones_own_to_a_plain_pipeline(
    tmp_path: Path, tiny_models: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_label_sets(tmp_path / "reviews.csv", TEXTS)
    words = given(tmp_path, tiny_models["bert"], file, "task.label=labels", "train.epochs=6", "method=full")
    assert command_line(["run", *words]) == 0
    directory, shown = only(tmp_path), capsys.readouterr()
    config = read_config(directory / run_files.CONFIG)
    assert (config.task.labels, config.task.metric, config.task.reported) == (LABELS, "multilabel_f1", "macro_f1")
    log = (directory / run_files.LOG).read_text()
    assert re.search(r"train: 108 rows, labels asked \d+, glad \d+, sad \d+; without any \d+", log)
    assert "; labels separated by pipe" in log
    found, result = predictions(directory), result_of(directory)
    assert [row["label"] for row in found] == [TEXTS[row["id"]][1] for row in found]
    predicted, true = as_numbers([row["prediction"] for row in found]), as_numbers([row["label"] for row in found])
    assert result.results[0].metrics == pytest.approx(
        {
            "macro_f1": f1_score(true, predicted, average="macro", zero_division=0),
            "micro_f1": f1_score(true, predicted, average="micro", zero_division=0),
            "exact_match": accuracy_score(true, predicted),
        }
        | dict(zip(F1_OF_LABELS, f1_score(true, predicted, average=None, zero_division=0).tolist(), strict=True))
    )
    assert not result.collapsed
    assert result.value > 0.8
    ones = f1_score(true, np.ones_like(true), average="macro")
    assert f"to beat:  macro_f1 {ones:.4f} with one set of labels for every example" in shown.out
    assert read_predictions(directory).predicted.shape == (12, 3)
    assert command_line(["evaluate", str(directory)]) == 0
    assert f"macro_f1 {result.value:.4f}" in capsys.readouterr().out
    rows = predicted_table(directory, tmp_path)
    for row in rows:
        above = [label for label in LABELS if float(row[f"probability_{label}"]) > 0.5]
        assert json.loads(row["prediction"]) == above
    assert command_line(["export", str(directory), f"output={tmp_path / 'exported'}"]) == 0
    assert_the_card_gives_the_probabilities(tmp_path / "exported", rows, monkeypatch)
    assert command_line(["report", str(tmp_path / "runs"), f"output={tmp_path / 'report'}"]) == 0
    assert f"macro_f1 {result.value:.4f}" in capsys.readouterr().out


def predicted_table(directory: Path, place: Path) -> list[dict[str, str]]:
    """Return what `gelora predict` writes of all rows into a table."""
    file, target = place / "reviews.csv", place / "predicted.csv"
    assert command_line(["predict", str(directory), f"file={file}", f"output={target}"]) == 0
    rows = list(csv.DictReader(target.open(encoding="utf-8")))
    assert [row["review"] for row in rows] == [text for text, _ in TEXTS]
    return rows


def assert_the_card_gives_the_probabilities(
    exported: Path, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run the code of the card, by transformers alone, and compare with what `gelora predict` gave."""
    monkeypatch.chdir(exported)
    code = Path("README.md").read_text().split("```python\n")[2].split("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    for row in rows[:9]:
        (scores,) = names["classify"]([row["review"]])
        by_label = {score["label"]: score["score"] for score in scores}
        assert by_label == pytest.approx({label: float(row[f"probability_{label}"]) for label in LABELS}, abs=1e-5)


def test_a_column_per_label_with_threshold_weights_and_a_gradient_signal(
    tmp_path: Path, tiny_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_label_sets(tmp_path / "reviews.csv", TEXTS, "columns")
    columns = f"task.label_columns=[{','.join(LABELS)}]"
    words = given(
        tmp_path, tiny_models["bert"], file, columns, "method=fisher", "protocol=split", "task.reported=f1_sad"
    )
    words += ["task.threshold=0.4", "task.class_weights=balanced", "train.label_smoothing=0.1"]
    assert command_line(["run", *words]) == 0
    found = predictions(only(tmp_path))
    assert len(found) == 6  # the reported half of the 12 rows that were held out
    for row in found:
        assert row["prediction"] == [
            label for label, score in zip(LABELS, row["scores"], strict=True) if score > np.log(0.4 / 0.6)
        ]
    assert "above 0.4" in (only(tmp_path) / run_files.CARD).read_text()
    capsys.readouterr()
    assert command_line(["run", *words]) == 0
    assert "done before" in capsys.readouterr().out


def test_what_does_not_fit_is_refused_before_any_work(
    tmp_path: Path, tiny_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_label_sets(tmp_path / "reviews.csv", TEXTS)
    wrong = [
        (["task.label_columns=[a,b]", "task.label=labels"], "task.label_columns=[a, b] and task.label=labels exclude"),
        (["task.label_columns=[a,b]", "task.labels=[b,a]"], "task.labels=[b, a] are not task.label_columns=[a, b]"),
        (["task.label_columns=[a]"], "task.label_columns=[a]: two or more different labels are needed"),
        (["task.label_columns=[a,b]"], "no column a"),
        (["task.label_columns=[a,b]", "task.group=a"], "task.group=a is task.label_columns, too"),
        (["task.label=labels", "task.threshold=1"], "task.threshold=1.0: accepted is a number above 0 and at most"),
        (["task.label=labels", "task.metric=mcc"], "task.metric=mcc does not judge task.kind=multilabel"),
        (
            ["task.label=labels", "task.kind=classification", "task.threshold=0.3"],
            "several labels per text need task.kind=multilabel",
        ),
        (["task=cola"], "task.kind=multilabel reads your own data"),
        (["task.label=labels", "task.class_weights=[1,2]"], "has 2 numbers for the 3 labels asked, glad, sad"),
        (["task.label=label"], "no column label; did you mean labels?"),
    ]
    for overrides, message in wrong:
        assert command_line(["run", *given(tmp_path, tiny_models["bert"], file, *overrides)]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.distributed
def test_two_processes_train_on_the_same_loss(tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    file = write_label_sets(tmp_path / "reviews.csv", TEXTS)
    losses = []
    for processes in (1, 2):
        place = tmp_path / str(processes)
        more = ["task.label=labels", "model.dropout=0", f"launch.processes={processes}"]
        assert command_line(["run", *given(place, tiny_models["bert"], file, *more)]) == 0
        losses.append(result_of(only(place)).train.last_loss)
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
