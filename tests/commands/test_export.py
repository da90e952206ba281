"""What is exported of a run: whole models and adapters that load by themselves, and their cards."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from gelora_cli.commands.exporting import fold_scale
from gelora_cli.commands.main import command_line
from gelora_cli.config.arguments import split_arguments
from gelora_cli.config.overrides import override_problems
from gelora_cli.config.schema import DataConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.result import ScoreScale
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS
from gelora_cli.models.heads import ScoreHead
from gelora_cli.models.load import load_model
from gelora_cli.models.locate import resolve_model
from tests.helpers.bench import Bench, predictions, result_of
from tests.helpers.rows import rows
from tests.helpers.squad_runs import arguments as squad_arguments
from tests.helpers.tiny import make_tokenizer

SHORT = ["budget=2500", "train.max_steps=3", "data.max_train_examples=40"]


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, glue_dir: Path, squad_dir: Path, tiny_models: dict[str, Path]
) -> dict[str, Path]:
    """Name to a finished run: PEFT's adapters and ours, of each kind of task, on several kinds of models."""
    root = tmp_path_factory.mktemp("exported")
    asked: dict[str, tuple[str, list[str]]] = {
        "regression": ("deberta-v2", ["task=stsb", "method=bitfit"]),
        "adalora": ("bert", ["task=cola", "method=adalora"]),
        "sora": ("roberta", ["task=cola", "method=sora"]),
        "answers": ("llama", squad_arguments(squad_dir, "method=lora")),
        "houlsby": ("bert", ["task=cola", "method=houlsby"]),
    }
    benches = {name: Bench(root / name, glue_dir, tiny_models) for name in asked}
    for name, (model, words) in asked.items():
        assert benches[name].run(*words, *SHORT, model=model) == 0
    return {name: bench.only() for name, bench in benches.items()}


def export(run: Path, target: Path, *words: str) -> int:
    return command_line(["export", str(run), f"output={target}", *words])


def run_the_card(directory: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the card's own Python prints, run in the card's directory."""
    names: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        patch.chdir(directory)
        exec((directory / "README.md").read_text().split("```python")[1].split("```")[0], names)
    return names


def logits(model: Any, tokenizer: Any, columns: tuple[list[str], ...]) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(**tokenizer(*columns, padding=True, return_tensors="pt")).logits
    return found


def texts(task: str, *columns: str) -> tuple[list[str], ...]:
    """Return the validation rows that the runs were evaluated on."""
    drawn = rows(task, 37, seed=2)
    found = []
    for column in columns:
        found.append([row[column] for row in drawn])
    return tuple(found)


@pytest.mark.parametrize("name", ["adalora", "sora"])
def test_a_merged_model_says_what_the_run_said(
    made: dict[str, Path], tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "merged"
    assert export(made[name], target) == 0
    assert "on 37 examples; 0.0001 is accepted" in capsys.readouterr().out
    model = AutoModelForSequenceClassification.from_pretrained(target)
    assert model.config.id2label == {0: "unacceptable", 1: "acceptable"}
    assert model.config.label2id == {"unacceptable": 0, "acceptable": 1}
    found = logits(model, AutoTokenizer.from_pretrained(target), texts("cola", "sentence"))
    kept = predictions(made[name])
    assert found.tolist() == [pytest.approx(row["scores"], abs=1e-4) for row in kept]
    assert [model.config.id2label[index] for index in found.argmax(1).tolist()] == [row["prediction"] for row in kept]
    assert "merged in float32" in (target / "README.md").read_text()


def test_regression_and_a_newly_drawn_pooler(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "merged"
    assert export(made["regression"], target) == 0
    names = run_the_card(target, monkeypatch)
    assert names["model"].config.problem_type == "regression"
    found = logits(names["model"], names["tokenizer"], texts("stsb", "sentence1", "sentence2"))
    assert found[:, 0].tolist() == pytest.approx(
        [row["prediction"] for row in predictions(made["regression"])], abs=1e-4
    )


def test_an_answering_model_keeps_its_backbone_under_its_own_names(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "merged"
    assert export(made["answers"], target) == 0
    assert type(run_the_card(target, monkeypatch)["model"]).__name__ == "LlamaForQuestionAnswering"
    held = "".join(path.read_text() for path in target.glob("*.json"))
    assert "gelora" not in held
    assert str(tmp_path.parent) not in held


def test_an_adapter_alone_loads_by_its_card(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("adalora", "houlsby"):
        target = tmp_path / name
        assert export(made[name], target, "form=adapter") == 0
        names = run_the_card(target, monkeypatch)
        tokenizer = AutoTokenizer.from_pretrained(target / names["base"].name_or_path)
        found = logits(names["model"].eval(), tokenizer, texts("cola", "sentence"))
        assert found.tolist() == [pytest.approx(row["scores"], abs=1e-4) for row in predictions(made[name])]
        assert ("from peft import PeftModel" in (target / "README.md").read_text()) is (name == "adalora")


def test_refusals_write_nothing(made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "mine").write_text("mine")
    file.write_text("mine")
    wrong: list[tuple[list[Path | str], str, str]] = [
        ([made["houlsby"], f"output={tmp_path / 'out'}"], "method=houlsby can't be merged", "Take form=adapter"),
        ([made["sora"]], "output=DIR is needed", "empty"),
        ([made["sora"], f"output={full}"], "full is not empty", "name an empty directory"),
        ([made["sora"], f"output={file}"], "file is a file", "name an empty directory"),
        ([made["sora"], f"output={tmp_path / 'out'}", "form=merge"], "form=merge", "did you mean merged?"),
        ([tmp_path, f"output={tmp_path / 'out'}"], "is not a finished run", "gelora ls"),
    ]
    for words, reason, fix in wrong:
        assert command_line(["export", *map(str, words)]) == 2
        message = capsys.readouterr().err
        assert reason in message
        assert fix in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def test_a_merged_model_that_differs_is_refused(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gelora_cli.methods.updates import merging

    def spoilt(model: Any, directory: Path) -> Any:
        merged: Any = whole(model, directory)
        with torch.no_grad():
            merged.classifier.bias += 0.01
        return merged

    whole = merging.merge_adapter
    monkeypatch.setattr(merging, "merge_adapter", spoilt)
    assert export(made["adalora"], tmp_path / "out") == 1
    assert "by 0.01, 0.0001 is accepted" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_runs_card_is_metadata_for_the_hub_and_commands_that_are_accepted(made: dict[str, Path]) -> None:
    for name, directory in made.items():
        text, result = (directory / run_files.CARD).read_text(), result_of(directory)
        data: Any = ModelCard(text).data
        assert {entry.dataset_split for entry in data.eval_results} == {"validation"}
        assert {entry.metric_name: entry.metric_value for entry in data.eval_results}[result.reported] == result.value
        assert "base_model" not in yaml.safe_load(text.split("---")[1])  # a directory of this machine
        for line in text.split("```\n")[-2].splitlines():
            command, *words = shlex.split(line)[1:]
            assert words[0] == ".", name
            overrides = [word for word in split_arguments(words).words if "=" in word]
            assert not override_problems(COMMANDS.get(command).config_name, overrides, None)[0]
        assert ("form=adapter" in text) is (name == "houlsby")


def test_a_run_holds_no_place_of_this_machine(made: dict[str, Path]) -> None:
    # Cards and adapters may be shared: the base by a relative path, data by the name alone, modes as for any file.
    for name, run in made.items():
        card = (run / "README.md").read_text(encoding="utf-8")
        assert "data.glue=glue" in card or "data.squad=" in card
        assert not any(f"data.{key}=/" in card for key in ("glue", "squad"))
        umask = os.umask(0o022)
        os.umask(umask)
        modes = {path.name: path.stat().st_mode & 0o777 for path in run.rglob("*") if path.is_file()}
        assert {mode for path, mode in modes.items() if path != ".lock"} == {0o666 & ~umask}, modes
        config = run / "adapter" / "adapter_config.json"
        if not config.exists():
            continue
        values = json.loads(config.read_text(encoding="utf-8"))
        assert values["task_type"] == ("QUESTION_ANS" if name == "answers" else "SEQ_CLS")
        assert values["base_model_name_or_path"].startswith("../")
        assert (run / values["base_model_name_or_path"] / "config.json").is_file()


def test_a_data_path_in_the_command_is_its_base_name() -> None:
    from gelora_cli.pipeline.card import _without_data_paths

    data = DataConfig(text="/home/me/customers/my data.csv", glue="owner/name")
    named = "'data.text=my data.csv'"
    words = {
        "data.text=/home/me/customers/my data.csv": named,
        "data.text=customers/my data.csv": named,  # by its form it could be a hub id
        'data.text="customers/my data.csv"': named,
        "++data.text=customers/my data.csv": "'++data.text=my data.csv'",
        "data={text: customers/my data.csv}": "'data={...}'",
        "data.glue=owner/name": "data.glue=owner/name",
        "data.max_train_examples=10": "data.max_train_examples=10",
        "model=minilm": "model=minilm",
    }
    for word, shown in words.items():
        assert _without_data_paths(shlex.join(["gelora", "run", word]), data) == f"gelora run {shown}"


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "deberta-v2"])
def test_the_scale_of_scores_goes_into_the_heads_last_linear(tiny_models: dict[str, Path], kind: str) -> None:
    resolved = resolve_model(hub=None, path=str(tiny_models[kind]))
    model = load_model(resolved, ScoreHead(), seed=0).model
    inputs = make_tokenizer(kind)("the cat sat on the mat", return_tensors="pt")
    with torch.inference_mode():
        before = model(**inputs).logits.item()
        fold_scale(model, ScoreScale(45_000.0, 17_000.0))
        assert model(**inputs).logits.item() == pytest.approx(45_000 + 17_000 * before, rel=1e-5)


def test_a_head_without_bias_cant_hold_the_mean_of_scores(tiny_models: dict[str, Path]) -> None:
    resolved = resolve_model(hub=None, path=str(tiny_models["llama"]))
    model = load_model(resolved, ScoreHead(), seed=0).model
    with pytest.raises(GeloraError, match=r"head score has no bias.*form=adapter"):
        fold_scale(model, ScoreScale(45_000.0, 17_000.0))
