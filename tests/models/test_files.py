"""Which files are a model's, and which directories are refused before anything is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gelora_cli.commands.main import command_line
from gelora_cli.core.errors import GeloraError
from gelora_cli.models.files import GENERATION_FILES, WEIGHTS, WEIGHTS_INDEX, model_files
from gelora_cli.models.heads import LabelHead
from gelora_cli.models.load import load_model
from gelora_cli.models.locate import ResolvedModel, resolve_model, with_files
from gelora_cli.models.tokenizer import load_tokenizer
from tests.helpers.tiny import make_tiny

LABELS = LabelHead(("bad", "good"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("bert", tmp_path_factory.mktemp("bert"))


@pytest.fixture
def no_torch_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where anything is unpickled."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("torch.load was reached")

    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr("torch.serialization.load", refuse)


def resolved(directory: Path) -> ResolvedModel:
    return resolve_model(hub=None, path=str(directory))


def refusal(directory: Path) -> str:
    """Return the one message with which a directory is refused, by resolving or loading it."""
    with pytest.raises(GeloraError) as refused:
        found = resolved(directory)
        load_model(found, LABELS, seed=0)
        load_tokenizer(found)
    message = str(refused.value)
    assert len(message) < 700
    return message


def split(directory: Path, names: tuple[str, str] = ("first.safetensors", "sub/second.safetensors")) -> Path:
    """Cut a model's weights into two files that its index names."""
    tensors = load_file(directory / WEIGHTS)
    half = sorted(tensors)[: len(tensors) // 2]
    parts = ({key: tensors[key] for key in half}, {key: tensors[key] for key in tensors if key not in half})
    weight_map: dict[str, str] = {}
    for name, part in zip(names, parts, strict=True):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        save_file(part, directory / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    (directory / WEIGHTS).unlink()
    (directory / WEIGHTS_INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")
    return directory


# The fingerprint


def test_every_file_that_the_index_names_is_in_the_fingerprint(bert: Path, tmp_path: Path) -> None:
    model = split(shutil.copytree(bert, tmp_path / "model"))
    assert {"first.safetensors", "sub/second.safetensors", WEIGHTS_INDEX} <= {*model_files(model, "model")}
    before = resolved(model)
    loaded = load_model(before, LABELS, seed=0).model.state_dict()
    whole = load_model(resolved(bert), LABELS, seed=0).model.state_dict()
    assert all(torch.equal(loaded[name], whole[name]) for name in whole)
    for name in ("first.safetensors", "sub/second.safetensors"):
        tensors = load_file(model / name)
        changed = {key: tensor + 1 for key, tensor in tensors.items()}
        save_file(changed, model / name, metadata={"format": "pt"})
        assert resolved(model).fingerprint != before.fingerprint
        save_file(tensors, model / name, metadata={"format": "pt"})
    assert resolved(model).fingerprint == before.fingerprint


def test_a_model_in_parts_is_fetched_whole(bert: Path, tmp_path: Path) -> None:
    model = split(shutil.copytree(bert, tmp_path / "parts"))
    assert command_line(["fetch", str(tmp_path / "to"), "task=demo", f"model.path={model}"]) == 0
    assert resolved(tmp_path / "to" / "models" / "parts").fingerprint == resolved(model).fingerprint


@pytest.mark.parametrize("name", ["tokenizer.4.0.0.json", "config.4.0.0.json", "tokenizer.model.v3"])
def test_files_for_one_version_of_transformers_are_in_the_fingerprint(bert: Path, tmp_path: Path, name: str) -> None:
    model = shutil.copytree(bert, tmp_path / "model")
    before = resolved(model).fingerprint
    (model / name).write_text("{}", encoding="utf-8")
    assert resolved(model).fingerprint != before


OUTSIDE = ["../bert/model.safetensors", "/etc/model.safetensors", "sub/../../a.safetensors", "..\\a.safetensors"]
NO_NAMES = ["a.bin", "", 7, None, "a" * 300 + ".safetensors", "a\x00.safetensors", "\ud800.safetensors"]
NO_INDEX = ["[]", "[1]", "{}", '{"weight_map": []}', '{"weight_map": {}}', "{", "[" * 50_000, "7"]


@pytest.mark.parametrize("name", [*OUTSIDE, *NO_NAMES])
@pytest.mark.usefixtures("no_torch_load")
def test_an_index_names_safetensors_inside_the_directory(bert: Path, tmp_path: Path, name: Any) -> None:
    model = shutil.copytree(bert, tmp_path / "model")
    tensors = load_file(model / WEIGHTS)
    torch_file = tmp_path / "model" / "a.bin"
    torch_file.write_bytes(b"no pickle")
    (model / WEIGHTS).unlink()
    (model / WEIGHTS_INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(tensors, name)}), encoding="utf-8")
    assert ".safetensors files inside the model's directory" in refusal(model)


@pytest.mark.parametrize("index", NO_INDEX)
def test_an_index_that_is_none_is_refused(bert: Path, tmp_path: Path, index: str) -> None:
    model = shutil.copytree(bert, tmp_path / "model")
    (model / WEIGHTS).unlink()
    (model / WEIGHTS_INDEX).write_text(index, encoding="utf-8")
    assert f"{WEIGHTS_INDEX} of {model}" in refusal(model)


def test_a_distributed_checkpoint_beside_the_weights_is_refused(bert: Path, tmp_path: Path) -> None:
    model = shutil.copytree(bert, tmp_path / "model")
    shutil.copy(model / WEIGHTS, model / "shard-00001-model-00001-of-00001.safetensors")
    assert "distributed checkpoint" in refusal(model)


# Odd directories


def config_with(**values: Any) -> Callable[[Path], object]:
    def change(model: Path) -> None:
        path = model / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")

    return change


def text_as(name: str, text: str) -> Callable[[Path], object]:
    return lambda model: (model / name).write_text(text, encoding="utf-8")


def directory_as(name: str) -> Callable[[Path], object]:
    def change(model: Path) -> None:
        (model / name).unlink(missing_ok=True)
        (model / name).mkdir()

    return change


def dangling(name: str) -> Callable[[Path], object]:
    def change(model: Path) -> None:
        (model / name).unlink(missing_ok=True)
        (model / name).symlink_to("nowhere")

    return change


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "zero heads": (config_with(num_attention_heads=0), "num_attention_heads=0"),
    "negative layers": (config_with(num_hidden_layers=-1), "num_hidden_layers=-1"),
    "no layers": (config_with(num_hidden_layers=0), "num_hidden_layers=0"),
    "a million layers": (config_with(num_hidden_layers=1_000_000), "num_hidden_layers=1000000"),
    "a size as text": (config_with(hidden_size="32"), "hidden_size='32'"),
    "a size as fraction": (config_with(hidden_size=32.5), "hidden_size=32.5"),
    "a size as truth": (config_with(hidden_size=True), "hidden_size=True"),
    "a size as list": (config_with(hidden_size=[32]), "hidden_size=[32]"),
    "a size of 400 digits": (config_with(intermediate_size=10**400), "intermediate_size=1000"),
    "5,000 digits": (text_as("config.json", '{"vocab_size": ' + "9" * 5000 + "}"), "can't be read"),
    "heads that don't divide": (config_with(num_attention_heads=5), "can't be shared among num_attention_heads=5"),
    "an enormous vocabulary": (config_with(vocab_size=900_000_000), "too small"),
    "an enormous width": (config_with(intermediate_size=9_000_000), "too small"),
    "NaN dropout": (config_with(hidden_dropout_prob=float("nan")), "hidden_dropout_prob=nan"),
    "dropout as text": (config_with(hidden_dropout_prob="0.1"), "hidden_dropout_prob='0.1'"),
    "dropout of 1": (config_with(attention_probs_dropout_prob=1.0), "attention_probs_dropout_prob=1.0"),
    "a NaN elsewhere": (config_with(layer_norm_eps=float("nan")), "layer_norm_eps=nan"),
    "an epsilon as text": (config_with(layer_norm_eps="small"), "layer_norm_eps='small'"),
    "a negative epsilon": (config_with(layer_norm_eps=-1), "layer_norm_eps=-1"),
    "an unknown type": (config_with(dtype="float99"), "dtype='float99'"),
    "an unknown torch type": (config_with(torch_dtype="Linear"), "torch_dtype='Linear'"),
    "a number as type": (config_with(dtype=7), "dtype=7"),
    "labels as text": (config_with(id2label="good"), "id2label='good'"),
    "labels as list": (config_with(id2label=["bad", "good"]), "id2label=['bad', 'good']"),
    "labels by name": (config_with(id2label={"bad": 0, "good": 1}), "id2label="),
    "label numbers as list": (config_with(label2id=["bad"]), "label2id=['bad']"),
    "padding out of range": (config_with(pad_token_id=100_000), "pad_token_id=100000"),
    "padding as text": (config_with(pad_token_id="0"), "pad_token_id='0'"),
    "a model type as list": (config_with(model_type=["bert"]), "model_type=['bert']"),
    "a model type of null": (config_with(model_type=None), "config.json of"),
    "an unknown activation": (config_with(hidden_act="nothing"), "nothing"),
    "an activation as number": (config_with(hidden_act=3), "config.json of"),
    "weights elsewhere": (config_with(transformers_weights="adapter_model.bin"), "transformers_weights="),
    "configurations elsewhere": (config_with(configuration_files=["../config.4.0.0.json"]), "configuration_files"),
    "a list": (text_as("config.json", "[]"), "it holds a list"),
    "a text": (text_as("config.json", '"bert"'), "it holds a str"),
    "nothing": (text_as("config.json", ""), "config.json of"),
    "deep": (text_as("config.json", "[" * 100_000), "config.json of"),
    "deep inside": (text_as("config.json", '{"a":' * 100_000), "config.json of"),
    "no UTF-8": (lambda model: (model / "config.json").write_bytes(b"\xff\xfe\x00"), "config.json of"),
    "huge": (text_as("config.json", '{"a": "' + " " * 21_000_000 + '"}'), "more than 20,000,000 bytes"),
    "a directory": (directory_as("config.json"), "config.json of"),
    "a dangling link": (dangling("config.json"), "config.json of"),
    "weights as directory": (directory_as("model.safetensors"), "no model.safetensors"),
    "a tokenizer as directory": (directory_as("tokenizer.json"), "tokenizer.json of"),
    "a tokenizer as dangling link": (dangling("tokenizer.json"), "tokenizer.json of"),
    "a tokenizer as list": (text_as("tokenizer.json", "[]"), "tokenizer of"),
    "a deep tokenizer": (text_as("tokenizer.json", "[" * 100_000), "tokenizer of"),
    "a tokenizer's settings as list": (text_as("tokenizer_config.json", "[]"), "tokenizer_config.json of"),
    "tokenizers elsewhere": (text_as("tokenizer_config.json", '{"fast_tokenizer_files": ["../a"]}'), "file names in"),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.usefixtures("no_torch_load")
def test_an_odd_directory_is_refused_in_one_message(bert: Path, tmp_path: Path, name: str) -> None:
    change, named = ODD[name]
    model = shutil.copytree(bert, tmp_path / "model")
    change(model)
    assert named in refusal(model)


def test_several_faults_are_one_message(bert: Path, tmp_path: Path) -> None:
    model = shutil.copytree(bert, tmp_path / "model")
    config_with(num_attention_heads=0, hidden_dropout_prob="x")(model)
    message = refusal(model)
    assert "num_attention_heads" in message
    assert "hidden_dropout_prob" in message


def test_usual_configurations_are_accepted(bert: Path, tmp_path: Path) -> None:
    """Accept what published models hold: nulls, labels that are numbers, an infinite value in a list."""
    model = shutil.copytree(bert, tmp_path / "model")
    values: dict[str, Any] = {"classifier_dropout": None, "id2label": {"0": 0, "1": "good"}, "dtype": "bfloat16"}
    values |= {"head_dim": None, "embedding_size": 32, "limits": [0.0, float("inf")]}
    config_with(**values)(model)
    assert load_model(resolved(model), LABELS, seed=0).map.kind == "bert"


def test_roberta_without_a_padding_id_has_a_longest_input(tmp_path: Path) -> None:
    from gelora_cli.models.tokenizer import check_length

    model = make_tiny("roberta", tmp_path)
    config_with(pad_token_id=None)(model)
    check_length(resolved(model), 16)


@pytest.mark.parametrize(("whole", "text"), [("gemma3", "gemma3_text"), ("mistral3", "ministral3"), ("llava", None)])
def test_a_text_model_inside_another_is_refused_with_its_type(
    bert: Path, tmp_path: Path, whole: str, text: str | None
) -> None:
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    part = {"hidden_size": 32} | ({"model_type": text} if text else {})
    config_with(model_type=whole, text_config=part)(tmp_path)
    message = refusal(tmp_path)
    assert f"model_type={whole!r} reads more than text" in message and "text_config" in message
    assert (f"A text-only model of model_type={text!r} is accepted" in message) == (text is not None)
    assert "get_decoder().save_pretrained(DIR)" in message


@pytest.mark.parametrize(
    ("kind", "values", "named"),
    [
        ("gpt2", {"n_positions": 0}, "n_positions=0: a whole number"),
        ("gpt2", {"n_embd": "768"}, "n_embd='768': a whole number"),
        ("gpt2", {"n_embd": 34}, "n_embd=34 can't be shared among n_head=4"),
        ("gpt2", {"n_embd": 4_000}, "for which weights of"),
        ("distilbert", {"dim": 34}, "dim=34 can't be shared among n_heads=4"),
        ("distilbert", {"dim": 4_000}, "for which weights of"),
        ("albert", {"num_hidden_groups": "2"}, "num_hidden_groups='2': a whole number"),
        ("albert", {"inner_group_num": 0}, "inner_group_num=0: a whole number"),
    ],
)
def test_the_sizes_of_a_kind_are_checked_by_its_own_names(
    tmp_path: Path, kind: str, values: dict[str, Any], named: str
) -> None:
    config_with(**values)(make_tiny(kind, tmp_path))
    assert named in refusal(tmp_path)


def test_files_of_generation_count_for_it_alone(bert: Path, tmp_path: Path) -> None:
    model = shutil.copytree(bert, tmp_path / "model")
    before = resolved(model)
    assert with_files(before, GENERATION_FILES) == before  # it has none of them
    (model / "generation_config.json").write_text('{"eos_token_id": 3}')
    assert resolved(model) == before
    first = with_files(resolved(model), GENERATION_FILES)
    (model / "chat_template.jinja").write_text("{{ messages }}")
    second = with_files(resolved(model), GENERATION_FILES)
    assert len({before.fingerprint, first.fingerprint, second.fingerprint}) == 3
