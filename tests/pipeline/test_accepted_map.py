"""A model of an undeclared kind by the command: its map is shown, accepted once, remembered, and part of the run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gelora_cli.config.complete import complete
from gelora_cli.config.files import read_config
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.accepted_map import AcceptedMap
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.models.kinds.bert import Bert
from gelora_cli.pipeline.accepted_map import ChosenNames, choose_names, remember_names
from gelora_cli.pipeline.inputs import resolve_base, resolve_inputs
from gelora_cli.pipeline.run_directories import RunDirectories
from tests.helpers.bench import Bench
from tests.helpers.composed import composed
from tests.helpers.tiny import make_tiny

RUN = ("task=cola", "method=lora", "budget=rank:1", "train.max_steps=1", "data.max_train_examples=16")
ACCEPT = "model.accept_map=true"
LINEARS = dict(Bert.linears)  # ERNIE has the modules of BERT
BY_HAND = (
    "model.blocks=encoder.layer",
    f"+model.linears={{{','.join(f'{role}: {name}' for role, name in LINEARS.items())}}}",
)


@pytest.fixture(scope="module")
def ernie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("ernie", tmp_path_factory.mktemp("ernie"))


@pytest.fixture
def undeclared(tmp_path: Path, glue_dir: Path, ernie: Path) -> Bench:
    return Bench(tmp_path / "runs", glue_dir, {"ernie": ernie})


def choose(bench: Bench, *overrides: str) -> ChosenNames:
    """Choose names as a command does, without reading data."""
    words = [f"model.path={bench.models['ernie']}", f"runs_dir={bench.root}", "task=cola", *overrides]
    config = complete(composed(*words))
    chosen = choose_names(config, resolve_base(config.model))
    remember_names(chosen, config)
    return chosen


def notes(bench: Bench) -> list[Path]:
    return sorted((bench.root / run_files.MAPS).glob("*"))


def test_the_map_is_shown_with_all_other_problems_and_nothing_is_written(
    undeclared: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (f"data.glue={tmp_path / 'nowhere'}", "task.max_length=5000")
    assert undeclared.run(*RUN, *words, model="ernie") == 2
    message = capsys.readouterr().err
    assert "3 problems with the configuration" in message
    assert "nowhere" in message and "5000" in message
    assert "give the same command with model.accept_map=true" in message
    for role, name in LINEARS.items():
        assert f"    {role:6}  {name:22}  " in message
    assert not undeclared.root.exists()


def test_a_map_is_accepted_once_and_is_the_same_run_as_by_hand(
    undeclared: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert undeclared.run(*RUN, ACCEPT, model="ernie") == 0
    directory = undeclared.only()
    frozen = read_config(directory / run_files.CONFIG).model
    assert (frozen.blocks, frozen.linears, frozen.accept_map) == ("encoder.layer", LINEARS, True)
    (note,) = notes(undeclared)
    assert read_artifact(AcceptedMap, note) == AcceptedMap("ernie", "encoder.layer", LINEARS)
    assert "model map: found in the model itself and accepted: blocks encoder.layer" in capsys.readouterr().err
    assert "found in the model itself, and accepted by the user: blocks encoder.layer" in (
        directory / run_files.CARD
    ).read_text(encoding="utf-8")
    # The same run without the key, and with the names given by hand in a directory of runs that remembers nothing.
    assert undeclared.run(*RUN, model="ernie") == 0
    shutil.rmtree(undeclared.root / run_files.MAPS)
    assert undeclared.run(*RUN, *BY_HAND, model="ernie") == 0
    assert undeclared.directories() == [directory] and notes(undeclared) == []


def test_a_dry_run_accepts_for_itself_alone(undeclared: Bench) -> None:
    assert undeclared.run(*RUN, ACCEPT, "dry_run=true", model="ernie") == 0
    assert not undeclared.root.exists()
    assert undeclared.run(*RUN, "dry_run=true", model="ernie") == 2


def test_another_map_asks_again(undeclared: Bench) -> None:
    assert choose(undeclared, ACCEPT).accepted is not None
    assert choose(undeclared).model.linears == LINEARS
    assert choose(undeclared, "model.blocks=encoder.layer").model.linears == LINEARS
    with pytest.raises(GeloraError, match=r"named by hand"):
        choose(undeclared, "+model.linears={query: attention.self.query}")
    chosen = choose(undeclared, "+model.linears={query: attention.self.query}", ACCEPT)
    assert (chosen.model.blocks, chosen.model.linears) == ("encoder.layer", {"query": "attention.self.query"})
    assert len(notes(undeclared)) == 2  # a file each, so that commands at once lose none


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "AcceptedMap", "schema_version": 99}'])
def test_a_damaged_note_accepts_nothing(undeclared: Bench, text: str) -> None:
    choose(undeclared, ACCEPT)
    notes(undeclared)[0].write_text(text, encoding="utf-8")
    with pytest.raises(GeloraError, match="declared nowhere"):
        choose(undeclared)
    choose(undeclared, ACCEPT)
    assert choose(undeclared).model.linears == LINEARS


def test_runs_that_can_not_be_written_to_only_forget(undeclared: Bench, log_lines: list[str]) -> None:
    undeclared.root.write_text("a file", encoding="utf-8")
    assert choose(undeclared, ACCEPT).model.linears == LINEARS
    assert "the map of ernie is accepted for this command alone" in "\n".join(log_lines)


def test_names_by_hand_and_declared_kinds_need_no_acceptance(undeclared: Bench, tiny_models: dict[str, Path]) -> None:
    chosen = choose(undeclared, *BY_HAND, ACCEPT)
    assert chosen.accepted is None and not chosen.model.accept_map  # nothing was found, so nothing says that it was
    chosen = choose(undeclared, f"model.path={tiny_models['bert']}", ACCEPT)
    assert (chosen.model.blocks, chosen.model.linears, chosen.model.accept_map) == (None, {}, False)
    assert notes(undeclared) == []


def test_a_sweep_finds_its_runs_by_the_accepted_names(undeclared: Bench) -> None:
    words = undeclared.arguments(*RUN, ACCEPT, model="ernie")[1:]
    config = complete(composed(*words))
    inputs = resolve_inputs(config, check_devices=False)
    (expected,) = RunDirectories().of(replace(inputs.config, seed=1), ["float32"])
    assert RunDirectories().of(replace(config, seed=1), ["float32"]) == [expected]
