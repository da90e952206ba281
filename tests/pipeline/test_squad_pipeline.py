"""Whole runs on SQuAD through the command, on tiny models and questions made by the tests."""

from __future__ import annotations

import json
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.codec import read_artifact
from gelora_cli.metrics.base import load_metric
from tests.helpers.bench import Bench, predictions, result_of
from tests.helpers.rows import squad_rows, write_squad
from tests.helpers.squad_runs import SMALL, arguments, content
from tests.helpers.tiny import KINDS
from tests.helpers.user_questions import write_questions


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_kind_answers_questions(bench: Bench, squad_dir: Path, kind: str) -> None:
    assert bench.run(*arguments(squad_dir), model=kind) == 0
    directory = bench.only()
    result = result_of(directory)
    assert result.results[0].examples == len(predictions(directory)) == 23
    assert result.value == result.results[0].metrics["f1"]
    assert result.reload_check.passed
    plan = read_artifact(RankPlan, directory / RankPlan.FILE)
    assert result.effective_ranks == plan.rank_pattern
    found, odds = content(directory, "predictions.json"), content(directory, "na_prob.json")
    assert found == {row["id"]: row["prediction"] for row in predictions(directory)}
    assert {row["group"] for row in predictions(directory)} == {"made"}  # the title of each question's article
    assert all((odds[number] > 0.5) is (text == "") for number, text in found.items())
    assert all(rows[0]["text"] == found[number] for number, rows in content(directory, "nbest.json").items())
    assert "windows; answers that come back from their tokens" in (directory / "log.txt").read_text()
    assert_the_card_loads(directory, bench.models[kind])


def assert_the_card_loads(directory: Path, model: Path) -> None:
    """Run the card's own lines: they load the adapter on the pretrained backbone, not on a random one."""
    from safetensors.torch import load_file

    code = (directory / "README.md").read_text().split("```python")[1].split("```")[0]
    names: dict[str, Any] = {}
    with chdir(directory):
        exec(code, names)
    held = {tensor.sum().item() for tensor in load_file(model / "model.safetensors").values()}
    loaded = [tensor.sum().item() for name, tensor in names["base"].named_parameters() if "base_layer" in name]
    assert loaded
    assert set(loaded) <= held


def test_a_task_without_unanswerable_questions_always_answers(bench: Bench, squad_dir: Path) -> None:
    assert bench.run(*arguments(squad_dir, "train.epochs=25", "train.max_steps=60", task="squad")) == 0
    directory = bench.only()
    assert all(content(directory, "predictions.json").values())
    assert not (directory / "na_prob.json").exists()
    given = [{"id": row["id"], "prediction_text": row["prediction"]} for row in predictions(directory)]
    gold = [{"id": row["id"], "answers": row["answers"]} for row in squad_rows(23, 2, unanswerable=False)]
    metrics = load_metric("squad").compute(predictions=given, references=gold)
    assert result_of(directory).results[0].metrics == pytest.approx(metrics)


def test_predict_answers_files_splits_and_a_question(
    bench: Bench,
    squad_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench.run(*arguments(squad_dir)) == 0
    directory = bench.only()
    paragraphs = [
        {"context": row["context"], "qas": [{"id": row["id"], "question": row["question"]}]}
        for row in squad_rows(23, 2, unanswerable=True)
    ]
    file, output = tmp_path / "questions.json", tmp_path / "out.jsonl"
    file.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    for source in (f"file={file}", "split=validation"):
        assert command_line(["predict", str(directory), source, f"output={output}"]) == 0
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        assert {row["id"]: row["prediction"] for row in rows} == content(directory, "predictions.json")
        assert all(row["label"] is None for row in rows)
    capsys.readouterr()
    asked = ['question="who sat?"', 'context="the cat sat on the mat, it said"']
    assert command_line(["predict", str(directory), *asked]) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert row["scores"].keys() == {"span", "start", "probability", "null", "no_answer_probability"}
    assert command_line(["predict", str(directory), asked[0]]) == 2
    assert "question=... and context=... belong together" in capsys.readouterr().err
    assert command_line(["predict", str(directory), asked[0], "file=x.json"]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_wrong_input_is_one_message_and_leaves_nothing(
    bench: Bench,
    squad_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_squad(tmp_path, "plain_text", "train", squad_rows(9, 1, unanswerable=True))
    write_squad(tmp_path, "plain_text", "validation", squad_rows(9, 1, unanswerable=True))
    assert bench.run(*arguments(tmp_path, task="squad")) == 2
    assert "use task=squad_v2 data.squad_v2=DIR" in capsys.readouterr().err
    assert bench.run(*arguments(squad_dir, "task.stride=40", task="squad")) == 2
    assert "which must be more than task.stride=40" in capsys.readouterr().err
    assert bench.run(*arguments(squad_dir, "task.unanswerable=true", task="squad")) == 2
    assert "take task.metric=squad_v2" in capsys.readouterr().err
    assert bench.run(*arguments(squad_dir, "task.max_length=600")) == 2
    assert "task.max_length=600" in capsys.readouterr().err
    assert not bench.directories()


def test_ones_own_questions_in_squads_json_train(
    bench: Bench,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = write_questions(tmp_path / "train.json", squad_rows(60, 1, unanswerable=False), articles=20)
    words = [f"task=squad data.squad={file}".split(), SMALL, ["method=lora", "budget=rank:1", "train.max_steps=2"]]
    mine = [word for part in words for word in part]
    assert bench.run(*mine, "dry_run=true") == 0
    assert "training: 2 steps of 16" in capsys.readouterr().out
    assert bench.run(*mine) == 0
    directory = bench.only()
    held = result_of(directory).results[0].examples
    assert f"validation: {held} of 60 questions held out, seed 0, by article" in (directory / "log.txt").read_text()
    capsys.readouterr()
    assert command_line(["evaluate", str(directory)]) == 0
    assert f"f1 {result_of(directory).value:.4f}" in capsys.readouterr().out
    for source, count in (("split=validation", held), (f"file={file}", 60)):
        assert command_line(["predict", str(directory), source]) == 0
        assert len(capsys.readouterr().out.splitlines()) == count
    assert bench.run(*mine, command="profile") == 0
    assert "idim" in capsys.readouterr().out
    assert command_line(["fetch", str(tmp_path / "offline"), *mine[:2], f"model.path={bench.models['bert']}"]) == 0
    assert (tmp_path / "offline" / "squad" / "train.json").is_file()
