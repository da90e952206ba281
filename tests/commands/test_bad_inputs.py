"""Wrong input through the command: one message with what was given, what is accepted and the fix."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.core.done import is_done, verify_checksums
from tests.helpers.bench import Bench
from tests.helpers.rows import rows, write_split
from tests.helpers.wrong_methods import WRONG as WRONG_METHODS
from tests.helpers.wrong_words import WRONG as WRONG_WORDS

Case = tuple[Callable[[Bench, Path], list[str]], list[str]]
FAST = ["train.epochs=1", "train.learning_rate=0.01"]
WRONG_PRESET = (
    "name: mine\nsource: glue\nfolder: cola\ncolumns: [sentence]\nlabels: [unacceptable, acceptable]\nmetric: mcc\n"
    "reported: matthews_correlation\npresets:\n  gelora:\n    default: {rate: 1.0, source: mine}\n"
)


def mine(made: Bench) -> list[str]:
    return [f"model.path={made.models['bert']}", f"data.glue={made.data}"]


def run(*overrides: str) -> Callable[[Bench, Path], list[str]]:
    return lambda made, _: made.arguments("task=cola", *overrides)


def damaged_model(change: Callable[[Path], object]) -> Callable[[Bench, Path], list[str]]:
    """Return what gives the arguments of a run with a copy of the tiny model, changed by `change`."""

    def arguments(made: Bench, place: Path) -> list[str]:
        model = place / "model"
        shutil.copytree(made.models["bert"], model)
        change(model)
        return made.arguments("task=cola", f"model.path={model}")

    return arguments


def damaged_data(change: Callable[[Path], object], *overrides: str) -> Callable[[Bench, Path], list[str]]:
    """Return what gives the arguments of a run on a copy of CoLA, changed by `change`."""

    def arguments(made: Bench, place: Path) -> list[str]:
        data = place / "glue"
        shutil.copytree(made.data / "cola", data / "cola")
        change(data)
        return made.arguments("task=cola", f"data.glue={data}", *overrides)

    return arguments


def relabel(data: Path, **values: object) -> None:
    write_split(data, "cola", "train", [row | values for row in rows("cola", 30, seed=1)])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def only_pickle(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def no_vocabulary(model: Path) -> None:
    for path in model.glob("*"):
        if path.name.startswith("tokenizer") or path.name == "vocab.txt":
            path.unlink()


def config_with(**values: object) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        path = model / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


INPUTS: dict[str, Case] = {
    "a batch that processes can't share": (
        run("train.batch_size=15", "launch.processes=2"),
        ["train.batch_size=15", "launch.processes=2", "take train.batch_size=16"],
    ),
    "micro-batches that don't divide": (
        run("train.micro_batch_size=5"),
        ["train.micro_batch_size=5", "does not divide the 16", "take a divisor of 16"],
    ),
    "no processes": (run("launch.processes=0"), ["launch.processes=0", "at least 1"]),
    "a checkpoint every 0 steps": (run("train.checkpoint_steps=0"), ["train.checkpoint_steps=0", "at least 1"]),
    "checkpoints in the past": (run("train.checkpoint_seconds=-1"), ["train.checkpoint_seconds=-1", "at least 0"]),
    "a dropout of 1": (run("model.dropout=1"), ["model.dropout=1", "at most 0.99"]),
    "warm-up beyond the end": (run("train.warmup_ratio=1.5"), ["train.warmup_ratio=1.5", "at most 1"]),
    "a seed below 0": (run("seed=-1"), ["seed=-1", "at least 0"]),
    "no examples for the profile": (run("profile.max_examples=3"), ["profile.max_examples=3", "at least 20"]),
    "an unknown rule": (run("ranks.rule=square"), ["ranks.rule=square", "growth+1"]),
    "an unknown rounding": (run("ranks.rounding=ceil"), ["ranks.rounding=ceil", "nearest"]),
    "unknown modules": (run("method.modules=mlp"), ["method.modules=mlp", "attention"]),
    "a budget with a comma": (run("budget='0,3M'"), ["budget=0,3M can't be used", "0.3M"]),
    "half a rank": (run("budget=rank:1.5"), ["budget=rank:1.5 can't be used", "not a whole number of units"]),
    "a rank above every side": (run("budget=rank:64"), ["budget=rank:64", "smallest side", "Give rank:32 or less"]),
    "a budget below rank 1": (
        run("budget=100"),
        ["gives the adapter 100 parameters", "the smallest possible is budget="],
    ),
    "a name that leads elsewhere": (
        run("task.name=../../elsewhere"),
        ["task.name=../../elsewhere", "names a directory"],
    ),
    "a folder that leads elsewhere": (run("task.folder=../up"), ["task.folder=../up", "names a directory"]),
    "text beyond the positions": (
        run("task.max_length=600"),
        ["task.max_length=600", "give task.max_length=512 or less"],
    ),
    "a hub id without a hub": (
        lambda made, _: ["run", "task=cola", "model.path=nobody/nothing", f"data.glue={made.data}", *FAST],
        ["nobody/nothing", "model.path=DIR"],
    ),
    "a file as a model": (
        lambda made, _: made.arguments("task=cola", f"model.path={made.models['bert'] / 'config.json'}"),
        ["is a file", "the directory of a model is accepted"],
    ),
    "a model without config.json": (
        damaged_model(lambda m: (m / "config.json").unlink()),
        ["has no config.json; a directory", "save_pretrained"],
    ),
    "pickled weights": (damaged_model(only_pickle), ["has no model.safetensors", "pytorch_model.bin", "never loaded"]),
    "cut weights": (
        damaged_model(lambda m: cut(m / "model.safetensors")),
        ["can't be loaded", "fetch or write them again"],
    ),
    "a model without a tokenizer": (
        damaged_model(no_vocabulary),
        ["has no tokenizer in", "Save it beside the weights"],
    ),
    "an unknown model type": (damaged_model(config_with(model_type="nothing")), ["config.json of", "can't be read"]),
    "a configuration of another size": (damaged_model(config_with(hidden_size=64)), ["don't fit its config.json"]),
    "an adapter as a model": (
        damaged_model(lambda m: (m / "adapter_config.json").write_text("{}")),
        ["holds an adapter", "a complete model is accepted"],
    ),
    "a task that the data lacks": (
        damaged_data(lambda d: shutil.move(d / "cola", d / "colla")),
        ["has no task cola", "it holds colla"],
    ),
    "a split that the data lacks": (
        damaged_data(lambda d: next((d / "cola").glob("validation-*")).unlink()),
        ["cola has no split validation", "it holds test, train"],
    ),
    "damaged parquet": (
        damaged_data(lambda d: cut(next((d / "cola").glob("train-*")))),
        ["can't be read as parquet", "Fetch the data again"],
    ),
    "a column that is missing": (
        damaged_data(lambda d: None, "task.columns=[text]"),
        ["no column text", "it has sentence", "by task.columns"],
    ),
    "empty texts": (damaged_data(lambda d: relabel(d, sentence=" ")), ["30 empty texts", "task.empty_text=keep"]),
    "labels of another task": (
        damaged_data(lambda d: write_split(d, "cola", "train", rows("cola", 30, seed=1), labels=("no", "yes"))),
        ["is not among the task's names unacceptable, acceptable"],
    ),
    "hidden labels in training": (
        damaged_data(lambda d: relabel(d, label=-1)),
        ["label", "is not among the task's names"],
    ),
    "no rows at all": (damaged_data(lambda d: write_split(d, "cola", "train", [])), ["split train is empty"]),
    "three columns of text": (
        run("task.columns=[sentence,sentence,other]"),
        ["task.columns=[sentence, sentence, other]", "one or two columns of text"],
    ),
    "no columns": (run("task.columns=[]"), ["task.columns=[]: one or two columns of text"]),
    "the label as a text": (run("task.columns=[sentence,label]"), ["task.columns=[sentence, label]", "another one"]),
    "a number as a text": (run("task.columns=[idx]"), ["row 1: idx must be a text", "not 0"]),
    "questions without a context": (
        lambda made, _: made.arguments("task=squad", "task.columns=[question]"),
        ["task.columns=[question]: two different columns"],
    ),
    "nothing to evaluate": (
        run("task.eval_splits=[]", "dry_run=true"),
        ["task.eval_splits=[]: one or more different splits other than train"],
    ),
    "evaluating the training rows": (run("task.eval_splits=[validation,train]"), ["splits other than train"]),
    "a pattern as a split": (run("task.eval_splits=['*']"), ["* is no name of a split"]),
    "no labels to learn": (run("task.labels=[]"), ["task.labels=[]: two or more different labels"]),
    "an unknown separator": (
        run("task=text", "data.separator=semi", "data.quoting=no"),
        ["2 problems", "did you mean semicolon?", "data.quoting=no", "did you mean none?"],
    ),
    "a directory of 300 characters": (
        lambda made, _: made.arguments("task=cola", f"data.glue=/{'x' * 300}"),
        ["xxx (301 characters): no such directory"],
    ),
    "a plan that is not there": (run("ranks.path=/no/plan.json"), ["/no/plan.json can't be read as RankPlan"]),
    "training without a profile": (
        lambda made, _: made.arguments("task=cola", command="train"),
        ["gelora train measures none", "gelora profile"],
    ),
    "fetching to nowhere": (lambda *_: ["fetch", "task=cola"], ["gelora fetch takes one DIR; given: nothing"]),
    "fetching to a file": (
        lambda made, place: ["fetch", str(written(place / "file")), "task=cola", *mine(made)],
        ["can't be written to", "gelora fetch DIR"],
    ),
    "two positions": (lambda *_: ["ls", "one", "two"], ["gelora ls takes one DIR", "given: one two"]),
    "predicting from two places": (
        lambda *_: ["predict", "/no/run", "split=test", "file=x"],
        ["split=, file= and question= exclude each other"],
    ),
    "a question without a context": (
        lambda *_: ["predict", "/no/run", "question=who"],
        ["question=... and context=... belong together"],
    ),
    "a profile of another schema": (
        lambda _, place: [
            "ranks",
            str(written(place / "profile.json", '{"schema": "IdProfile", "schema_version": 1}')),
        ],
        ["holds the IdProfile of schema version 1", "this gelora reads version 2", "force=true"],
    ),
    "a profile that is cut": (
        lambda _, place: ["ranks", str(written(place / "profile.json", '{"schema": "IdPro'))],
        ["profile.json is damaged", "force=true"],
    ),
    "a profile with a field too many": (
        lambda _, place: [
            "ranks",
            str(written(place / "profile.json", '{"schema": "IdProfile", "schema_version": 2, "more": 1}')),
        ],
        ["is not a complete IdProfile", "lacks"],
    ),
    "a number that is none": (
        run("train.learning_rate=fast"),
        ["train.learning_rate=fast", "accepted is a number, such as 2e-4"],
    ),
    "not a number": (run("train.learning_rate=nan"), ["train.learning_rate=nan", "above 0"]),
    "an infinite scaling": (run("method.scaling=inf"), ["method.scaling=inf", "above 0"]),
    "an override without a value": (run("+train.epochs"), ["takes only KEY=VALUE", "+train.epochs"]),
    "a preset in a user's task with a wrong key": (
        lambda made, place: [
            *made.arguments("task=mine"),
            "--config-dir",
            str(written(place / "mine" / "task" / "mine.yaml", WRONG_PRESET).parent.parent),
        ],
        ["rate is unknown", "learning_rate"],
    ),
}


def written(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", INPUTS)
def test_wrong_input_is_one_message(
    bench: Bench,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    build, parts = INPUTS[name]
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    place = tmp_path / "place"
    place.mkdir()
    assert command_line(build(bench, place)) == 2
    message = capsys.readouterr().err
    assert all(part in message for part in parts), message
    assert "Traceback" not in message
    assert not [path for path in bench.directories() if is_done(path)]


def test_there_are_enough_of_them() -> None:
    parts = [tuple(parts) for _, parts in (*INPUTS.values(), *WRONG_WORDS, *WRONG_METHODS)]
    assert len(parts) >= 60
    assert len(set(parts)) >= 40


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a cut adapter": (lambda d: cut(d / "adapter" / "adapter_model.safetensors"), "is damaged or was changed"),
    "an adapter's settings": (
        lambda d: (d / "adapter" / "adapter_config.json").unlink(),
        "is missing since the run ended",
    ),
    "a cut result": (lambda d: cut(d / "result.json"), "is damaged or was changed"),
    "an edited configuration": (
        lambda d: (d / "config.yaml").write_text((d / "config.yaml").read_text().replace("seed: 0", "seed: 1")),
        "is damaged or was changed",
    ),
    "a plan": (lambda d: (d / "ranks.json").write_text("{}"), "is damaged or was changed"),
    "predictions": (lambda d: cut(d / "predictions.jsonl"), "is damaged or was changed"),
    "the manifest": (lambda d: (d / "run.json").unlink(), "is missing since the run ended"),
    "the course": (lambda d: (d / "metrics.jsonl").write_text(""), "is damaged or was changed"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_run_is_named_and_not_used(
    finished: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = DAMAGES[name]
    directory = tmp_path / "run"
    shutil.copytree(finished, directory)
    change(directory)
    for command in ("evaluate", "predict"):
        assert command_line([command, str(directory), *(["split=validation"] if command == "predict" else [])]) == 2
        shown = capsys.readouterr().err
        assert message in shown
        assert "force=true" in shown


def test_card_and_pictures_may_be_changed(finished: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    shutil.copytree(finished, directory)
    (directory / "README.md").write_text("mine")
    (directory / "ranks.png").unlink()
    verify_checksums(directory)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, glue_dir: Path, tiny_models: dict[str, Path]) -> Path:
    """Return the directory of a run that has ended well."""
    made = Bench(tmp_path_factory.mktemp("finished"), glue_dir, tiny_models)
    assert made.run("task=cola", "train.max_steps=3") == 0
    return made.only()


def test_a_damaged_profile_is_measured_again(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("task=cola", "train.max_steps=2") == 0
    (profile,) = (bench.root / ".profiles").glob("*/profile.json")
    whole = profile.read_text()
    cut(profile)
    assert bench.run("task=cola", "train.max_steps=2", "seed=1") == 0
    assert "measured again" in capsys.readouterr().err
    strip = [json.loads(text) | {"seconds": 0, "sha256": ""} for text in (whole, profile.read_text())]
    assert strip[0] == strip[1]
