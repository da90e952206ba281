"""Text from data, paths and the command line stays text: `${...}` and `???` mean nothing in it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from gelora_cli.commands.main import command_line
from gelora_cli.config.files import config_text, parse_config, read_config, write_config
from gelora_cli.config.literal_text import protect_text, restore_text
from gelora_cli.config.schema import RunConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS
from tests.helpers.bench import Bench

ODD = [
    "${oc.env:SECRET}",
    "${seed}",
    "???",
    "${",
    "a ${b} ${c",
    "$",
    "\\${x}",
    "{}",
    "yes",
    "1e5",
    "2020-01-01",
    "\ud800",
]


def odd_config() -> RunConfig:
    task = TaskConfig(name="a", labels=ODD, columns=["${task}", "???"])
    return RunConfig(task=task, runs_dir="/tmp/${oc.env:SECRET}/???", preset_source="${", budget="rank:4")


def test_a_saved_configuration_keeps_every_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    write_config(odd_config(), tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == odd_config()
    assert parse_config(config_text(odd_config())) == odd_config()


def test_a_configuration_as_earlier_versions_wrote_it_still_opens(tmp_path: Path) -> None:
    config = replace(
        odd_config(), task=TaskConfig(labels=["${oc.env:SECRET}", "no", "1"]), preset_source="a: b", budget=3
    )
    values = asdict(config)
    del values["data"]["text_validation"]  # a key that was added later
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(values)))
    assert read_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    "text",
    [
        "seed: ${oc.env:SECRET}",
        "seed: yes",
        "seed: 1.5",
        "task: []",
        "task:\n  labels: b",
        "task:\n  nothing: 1",
        "nothing: 1",
        "- seed",
        "",
        "seed: 1\n---\nseed: 2",
        "seed: !!python/object/apply:os.getcwd []",
        "task: " + 30_000 * "[",
        "preset_source: " + 6_000 * "[",
        "seed: " + 9_000 * "{a: ",
        "train:\n  learning_rate: fast",
        "train:\n  learning_rate: true",
        "budget: [1]",
        "1: 2",
    ],
)
def test_a_damaged_configuration_is_one_short_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(GeloraError, match=r"config\.yaml can't be read") as caught:
        read_config(tmp_path / "config.yaml")
    assert len(str(caught.value)) < 500


def test_sections_that_an_edit_has_joined_are_read_as_yaml_reads_them(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        '# mine\npreset_source: "a\nseed: b"\nbudget: &b rank:4\nprecision: *b\nseed: 3\n'
    )
    found = read_config(tmp_path / "config.yaml")
    assert (found.preset_source, found.seed, found.precision) == ("a seed: b", 3, "rank:4")


@pytest.mark.parametrize(
    "text", ["${oc.env:SECRET}", "${price", "???", "a ${b} ???? ${c", "\\${x}", "gelora_text_", "$ {a}"]
)
def test_protected_text_comes_back_as_it_was(text: str) -> None:
    assert restore_text(protect_text(f"question={text}")) == f"question={text}"
    assert "${" not in protect_text(f"question={text}")


def given_to(monkeypatch: pytest.MonkeyPatch, command: str, *words: str) -> Any:
    """Return the configuration that a command is called with."""
    found: list[Any] = []
    monkeypatch.setattr(COMMANDS.get(command), "handle", lambda config, paths, typed: found.append(config))
    assert command_line([command, *words]) == 0
    return found[0]


def test_question_and_context_are_never_interpolated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    question, context = "What is ${oc.env:SECRET}, ??? or ${?", "It costs ${price} dollars."
    words = ['question="What is ${oc.env:SECRET}, ??? or ${?"', f'context="{context}"']
    config = given_to(monkeypatch, "predict", "RUN", *words, "output=${x}/???")
    assert (config.question, config.context, config.output) == (question, context, "${x}/???")


def test_paths_and_names_of_a_run_are_never_interpolated(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        "data.text=/a/${seed}.csv",
        "task=text",
        "task.columns=[${seed},b]",
        "task.label='${runs_dir}'",
        "seed=3",
    ]
    config = given_to(monkeypatch, "run", *words)
    assert config.data.text == "/a/${seed}.csv"
    assert (config.task.columns, config.task.label) == (["${seed}", "b"], "${runs_dir}")


def test_the_users_own_groups_keep_hydras_interpolation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nruns_dir: ${oc.env:PLACE}/${seed}\n")
    monkeypatch.setenv("PLACE", "/scratch")
    config = given_to(monkeypatch, "run", "--config-dir", str(tmp_path), "experiment=mine", "seed=4")
    assert config.runs_dir == "/scratch/4"
    monkeypatch.delenv("PLACE")
    assert command_line(["run", "--config-dir", str(tmp_path), "experiment=mine"]) == 2


def test_the_shown_configuration_holds_the_text_as_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["run", "--cfg", "job", "data.text=${oc.env:SECRET}/${"]) == 0
    shown = capsys.readouterr().out
    assert "text: ${oc.env:SECRET}/${\n" in shown


@pytest.mark.parametrize("override", ["seed=???", "seed=${x}", "budget=???", "model=${x}", "${x}=3"])
def test_what_no_key_takes_is_named_as_it_was_given(override: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["run", override]) == 2
    assert override in capsys.readouterr().err


def test_labels_and_paths_of_a_run_survive_to_its_predictions_and_card(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    labels, words = ["${oc.env:SECRET}", "???"], ["the cat sat", "a dog ran"]
    lines = [json.dumps({"text": f"{words[row % 2]} {row}", "label": labels[row % 2]}) for row in range(60)]
    data = tmp_path / "${seed}" / "???"
    data.mkdir(parents=True)
    (data / "rows.jsonl").write_text("\n".join(lines))
    overrides = [f"data.text={data}/rows.jsonl", "task=text", "task.columns=[text]", "task.label=label"]
    assert bench.run(*overrides, "budget=rank:2", "method=lora", f"runs_dir={data}/runs") == 0
    (run,) = (path.parent for path in data.rglob("run.json"))
    assert sorted(read_config(run / "config.yaml").task.labels) == sorted(labels)
    capsys.readouterr()
    (tmp_path / "new.txt").write_text("the cat sat 3\na dog ran 4\n")
    assert command_line(["predict", str(run), f"file={tmp_path / 'new.txt'}"]) == 0
    assert command_line(["export", str(run), f"output={tmp_path / 'exported'}", "form=adapter"]) == 0
    card = (tmp_path / "exported" / "README.md").read_text()
    assert {json.loads(line)["prediction"] for line in capsys.readouterr().out.splitlines()[:2]} <= set(labels)
    assert "${oc.env:SECRET}" in card
    assert "hunter2" not in card


def test_a_list_in_the_place_of_a_mapping_is_refused_with_the_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "experiment").mkdir()
    file = tmp_path / "experiment" / "mine.yaml"
    file.write_text(
        "# @package _global_\ndefaults:\n  - override /task: text\ntask: {class_weights: {ham: 1, spam: 5}}\n"
    )
    words = ["run", "--config-dir", str(tmp_path), "experiment=mine", "task.class_weights=[1,2]"]
    assert command_line(words) == 2
    assert "a list can't replace a mapping that a file gives" in capsys.readouterr().err
