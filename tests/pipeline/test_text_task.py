"""task=text through the commands: a run on a file of one's own, judged again and used, and a folder of YAML."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from gelora_cli.commands.main import command_line
from gelora_cli.config.files import read_config
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.status import find_runs
from gelora_cli.tasks.classification import Classification
from tests.helpers.bench import FAST, predictions, result_of, with_overrides
from tests.helpers.rows import rows

OWN_DATA = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "own-data.md"


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Write a CSV of 120 reviews with a mood each."""
    path = tmp_path / "My reviews.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["mood", "review"])
        for row in rows("cola", 120, seed=1):
            writer.writerow(["glad" if row["label"] else "sad", row["sentence"]])
    return path


def given(place: Path, model: Path, *more: str) -> list[str]:
    fixed = [
        "task=text",
        "task.columns=[review]",
        "task.label=mood",
        f"model.path={model}",
        f"runs_dir={place / 'runs'}",
    ]
    return [*fixed, *FAST, *more]


def only(place: Path) -> Path:
    (directory,) = find_runs(place / "runs")
    return directory


def test_a_run_on_a_file_of_ones_own(
    reviews: Path,
    tmp_path: Path,
    tiny_models: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = given(tmp_path, tiny_models["bert"], f"data.text='{reviews.name}'")
    assert command_line(["profile", *words]) == 0
    assert command_line(["train", *words]) == 0  # the profile is that of the rows that the run trains on
    directory = only(tmp_path)
    assert directory.relative_to(tmp_path).parts[1] == "My-reviews"
    config = read_config(directory / run_files.CONFIG)
    assert (config.task.labels, config.task.metric, config.task.reported) == (["glad", "sad"], "accuracy", "accuracy")
    assert "; 12 of 120 rows held out, seed 0" in (directory / "log.txt").read_text()
    before_training = (directory / "log.txt").read_text().partition("training:")[0]
    assert "train: 108 rows, labels glad " in before_training
    assert "validation: 12 rows, labels glad " in before_training
    assert read_artifact(IdProfile, directory / IdProfile.FILE).examples_seen == 108
    assert result_of(directory).results[0].examples == 12
    held = predictions(directory)
    lines = list(csv.DictReader(reviews.open(encoding="utf-8")))
    assert [lines[row["id"]]["mood"] for row in held] == [row["label"] for row in held]
    value_line = f"value:    accuracy {result_of(directory).value:.4f} on 12 examples of validation"
    assert value_line in capsys.readouterr().out.splitlines()
    assert command_line(["evaluate", str(directory)]) == 0
    assert f"accuracy {result_of(directory).value:.4f}" in capsys.readouterr().out
    assert command_line(["predict", str(directory), "split=validation"]) == 0
    again = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["prediction"] for row in again] == [row["prediction"] for row in held]
    assert command_line(["predict", str(directory), f"file='{reviews}'"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 120
    other = tmp_path / "semicolons.csv"
    other.write_text(reviews.read_text(encoding="utf-8").replace(",", ";"), encoding="utf-8")
    assert command_line(["predict", str(directory), f"file='{other}'"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 120
    assert command_line(["predict", str(directory), f"file='{other}'", "data.separator=comma"]) == 2
    message = capsys.readouterr().err
    assert "accepted: mood;review. Rename the column" in message
    assert "data.separator=NAME" in message
    assert command_line(["fetch", "offline", *words]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  gelora run")]
    assert command_line([*shlex.split(line)[1:], *FAST, f"runs_dir={tmp_path / 'runs'}"]) == 0
    assert "done before" in capsys.readouterr().out


def test_scores_and_what_is_wrong_before_any_work(
    tmp_path: Path, tiny_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    scored = tmp_path / "scored.jsonl"
    values = [
        {"review": row["sentence"], "mood": row["sentence"].count("e") / 3, "author": f"author {number // 4}"}
        for number, row in enumerate(rows("cola", 60, seed=1))
    ]
    scored.write_text("".join(json.dumps(value) + "\n" for value in values))
    words = given(tmp_path, tiny_models["bert"], f"data.text={scored}", "task.kind=regression", "train.max_steps=2")
    wrong = [
        (["task.metric=mcc"], "task.metric=mcc does not judge task.kind=regression"),
        (["task.reported=accuracy"], "task.reported=accuracy is no value of task.metric=pearson_spearman"),
        (["task.columns=[]"], "one or two columns of text"),
        (["task.columns=[mood]"], "another one for the label"),
        (["task.columns=[review,mode]"], "column mode; did you mean mood?"),
        (["task.group=mood"], "task.group=mood is task.label, too"),
        (["task=cola", "task.group=author"], "task.group=author: only task=text"),
        (["task.source=texts"], "task.source=texts: ... did you mean text?"),
        (["task.kind=question_answering"], "task.kind=question_answering needs task=squad data.squad=FILE.json"),
        (["task.name=../up"], "task.name=../up: letters"),
        ([f"data.text={tmp_path}/scord.jsonl"], "scord.jsonl: no such file"),
    ]
    for overrides, message in wrong:
        assert command_line(["run", *with_overrides(words, overrides)]) == 2
        said = capsys.readouterr().err
        assert all(part in said for part in message.split(" ... "))
    assert not (tmp_path / "runs").exists()
    assert command_line(["run", *words, "task.group=author"]) == 0
    assert result_of(only(tmp_path)).reported == "pearson_spearman_mean"
    held = predictions(only(tmp_path))
    assert [row["group"] for row in held] == [f"author {row['id'] // 4}" for row in held]
    authors = {row["id"] // 4 for row in held}
    assert sorted(row["id"] for row in held) == [row for row in range(len(values)) if row // 4 in authors]
    assert "train (groups)" in read_artifact(RunManifest, only(tmp_path) / RunManifest.FILE).fingerprints
    assert read_artifact(RunManifest, only(tmp_path) / RunManifest.FILE).status == "done"


ROWS = [
    {
        "review": "happy " * (number % 6) + "lost " * (5 - number % 6) + row["sentence"],
        "mood": 20_000 + 9_000 * (number % 6),
    }
    for number, row in enumerate(rows("cola", 120, seed=1))
]
"""Texts with their score, which is from 20,000 to 65,000 and follows from the first five words."""


def prices(path: Path) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in ROWS))
    return path


REGRESSION = ["task.kind=regression", "method=lora", "budget=rank:2"]


def test_raw_scores_are_trained_on_standardised_and_predicted_as_they_are(
    tmp_path: Path, tiny_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = prices(tmp_path / "prices.jsonl")
    words = given(tmp_path, tiny_models["bert"], f"data.text={file}", *REGRESSION)
    assert command_line(["run", *[w for w in words if "epochs" not in w], "train.epochs=8"]) == 0
    directory = only(tmp_path)
    result, found = result_of(directory), predictions(directory)
    assert result.value > 0.8
    assert not result.collapsed
    assert result.scale is not None
    assert result.scale.mean == pytest.approx(42_500, rel=0.02)  # of the rows not held out
    assert all(15_000 < row["prediction"] < 80_000 for row in found)
    assert [row["label"] for row in found] == [ROWS[row["id"]]["mood"] for row in found]
    assert result.train.last_loss < 2
    capsys.readouterr()
    assert command_line(["evaluate", str(directory)]) == 0
    assert f"pearson_spearman_mean {result.value:.4f}" in capsys.readouterr().out
    assert command_line(["predict", str(directory), "split=validation"]) == 0
    again = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["prediction"] for row in again] == pytest.approx([row["prediction"] for row in found])
    assert_the_exported_model_gives_scores(directory, tmp_path / "exported", found)


def assert_the_exported_model_gives_scores(directory: Path, target: Path, found: list[dict[str, Any]]) -> None:
    """Assert that transformers alone gives scores on the scale of the data with the exported model."""
    assert command_line(["export", str(directory), f"output={target}"]) == 0
    model = AutoModelForSequenceClassification.from_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(target)
    texts = [ROWS[row["id"]]["review"] for row in found]
    with torch.inference_mode():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits[:, 0].tolist()
    assert logits == pytest.approx([row["prediction"] for row in found], rel=1e-4)
    assert "standardised" not in (target / "README.md").read_text()
    assert "a score is `" in (directory / "README.md").read_text()


def test_raw_scores_trained_on_as_they_are_end_in_a_flag_and_its_remedy(
    tmp_path: Path, tiny_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = prices(tmp_path / "prices.jsonl")
    words = given(tmp_path, tiny_models["bert"], f"data.text={file}", *REGRESSION, "task.standardize=false")
    assert command_line(["run", *words, "train.max_steps=3"]) == 0
    result = result_of(only(tmp_path))
    assert result.scale is None
    assert result.collapsed
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"value:    pearson_spearman_mean {result.value:.4f} on 12 examples of validation"
    remarks = [line.removeprefix("note:     ") for line in lines if line.startswith("note:")]
    assert remarks[0].startswith("collapsed: every prediction lies outside")
    assert remarks[1].startswith("what may help: task.standardize=true, train.learning_rate=0.001")
    log = (only(tmp_path) / run_files.LOG).read_text()
    assert all(remark in log for remark in (f"pearson_spearman_mean: {result.value:.4f}", *remarks))


def test_a_run_that_gives_one_label_says_so_behind_its_value(
    reviews: Path,
    tmp_path: Path,
    tiny_models: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Classification, "decide", lambda self, logits: np.zeros(len(logits), np.int64))
    words = given(tmp_path, tiny_models["bert"], f"data.text='{reviews}'", "method=lora", "budget=rank:1")
    words += ["train.max_steps=3", "task.max_length=6"]
    assert command_line(["profile", *words]) == 0
    assert "of 108 texts are longer than task.max_length=6" in capsys.readouterr().err
    assert command_line(["run", *words]) == 0
    result = result_of(only(tmp_path))
    shown = capsys.readouterr()
    value_in_output = f"accuracy {result.value:.4f} on 12 examples"
    value_in_log = f"accuracy: {result.value:.4f}"
    log = (only(tmp_path) / run_files.LOG).read_text()
    for text, value_text in ((shown.out, value_in_output), (log, value_in_log)):
        value = text.index(value_text)
        assert text.index("collapsed: one label for all 12 rows (") > value
        assert text.index("what may help: ") > value
        assert "train.learning_rate=0.001 (a tenth)" in text
    for split, count in (("train", 108), ("validation", 12)):
        cut = re.search(rf"{split}: (\d+) of {count} texts are longer than task.max_length=6", shown.err)
        assert cut
    assert command_line(["run", *words]) == 0
    assert "collapsed: one label for all 12 rows (" in capsys.readouterr().out
    assert command_line(["run", *words, "seed=1", "dry_run=true"]) == 0
    assert "texts are longer than task.max_length=6 tokens" in capsys.readouterr().err
    assert command_line(["predict", str(only(tmp_path)), "split=validation"]) == 0
    shown = capsys.readouterr()
    assert "of 12 texts are longer than task.max_length=6" in shown.err
    assert len(shown.out.splitlines()) == 12


def test_the_yaml_of_the_guide_on_own_data_is_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = [text for text in re.findall(r"```yaml\n(.*?)```", OWN_DATA.read_text(), re.S) if "reviews" in text]
    (tmp_path / "mine" / "task").mkdir(parents=True)
    (tmp_path / "mine" / "task" / "reviews.yaml").write_text(block)
    monkeypatch.chdir(tmp_path)
    assert command_line(["run", "--cfg", "job", "--config-dir", "mine", "task=reviews", "task.metric=mcc"]) == 0
    shown = capsys.readouterr().out
    assert all(
        line in shown for line in ("name: reviews", "source: text", "metric: mcc", "text: reviews.csv", "source: mine")
    )
    assert command_line(["run", "--config-dir", "mine", "task=reviews"]) == 2
    assert f"data.text={tmp_path}/reviews.csv: no such file" in capsys.readouterr().err
