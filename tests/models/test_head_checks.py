"""A type of model that lacks the head of a task is refused by name, from what transformers itself has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gelora_cli.core.errors import GeloraError
from gelora_cli.models.head_checks import check_head
from gelora_cli.models.load import load_model
from gelora_cli.models.locate import ResolvedModel, resolve_model
from tests.helpers.bench import Bench
from tests.helpers.models import LABELS, LANGUAGE, SCORE, SPAN, refusal
from tests.helpers.squad_runs import arguments
from tests.helpers.tiny import make_tiny

ENCODERS_WITHOUT_ANSWERS = ("eurobert", "nomic_bert", "gte")


def model_of(directory: Path, model_type: str) -> ResolvedModel:
    (directory / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
    return ResolvedModel(model_type, directory, "f")


@pytest.mark.parametrize("model_type", [*ENCODERS_WITHOUT_ANSWERS, "gemma2", "gemma3_text", "phi3", "olmo"])
def test_no_head_for_answers(tmp_path: Path, model_type: str) -> None:
    model = model_of(tmp_path, model_type)
    check_head(model, LABELS)
    message = refusal(check_head, model, SPAN)
    assert f"{model_type} is of type {model_type}" in message and "no head for question answering" in message
    heads = "classification, multi-label classification, regression"
    heads += "" if model_type in ENCODERS_WITHOUT_ANSWERS else ", text generation"
    assert f"it has one for {heads}." in message
    assert "another type, such as bert, roberta" in message and len(message) < 400


def test_no_head_at_all(tmp_path: Path) -> None:
    model = model_of(tmp_path, "clip_text_model")
    assert "no head for classification; it has none for any kind of task. Take" in refusal(check_head, model, LABELS)
    assert "no head for regression" in refusal(check_head, model, SCORE)


def test_a_decoder_may_have_a_head_for_text_alone(tmp_path: Path) -> None:
    model = model_of(tmp_path, "granite")
    assert "no head for classification; it has one for text generation. Take a task" in refusal(
        check_head, model, LABELS
    )
    check_head(model, LANGUAGE)


@pytest.mark.parametrize("model_type", ["bert", "roberta", "eurobert", "xlm-roberta-xl"])
def test_an_encoder_generates_no_text_although_transformers_has_a_class_for_it(tmp_path: Path, model_type: str) -> None:
    message = refusal(check_head, model_of(tmp_path, model_type), LANGUAGE)
    assert f"of type {model_type}, an encoder" in message and "can't be used for text generation" in message
    assert "such as llama, mistral, qwen2" in message


@pytest.mark.parametrize("model_type", ["mamba", "rwkv"])
def test_a_model_without_keys_and_values_generates_no_text(tmp_path: Path, model_type: str) -> None:
    message = refusal(check_head, model_of(tmp_path, model_type), LANGUAGE)
    assert f"of type {model_type}" in message and "past_key_values" in message and "type llama or qwen2" in message


def test_a_type_that_has_the_head_or_is_unknown_passes(tmp_path: Path) -> None:
    for model_type in ("modernbert", "a type of tomorrow"):
        check_head(model_of(tmp_path, model_type), SPAN)


def test_it_is_said_with_everything_else_and_before_any_work(
    bench: Bench, squad_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.models = {"eurobert": make_tiny("eurobert", tmp_path / "model")}
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(bytes(weights.stat().st_size))  # damaged, which only reading them would show
    assert bench.run(*arguments(squad_dir, "data.squad_v2=nowhere"), model="eurobert") == 2
    message = capsys.readouterr().err
    assert "no head for question answering" in message and "nowhere" in message
    assert not bench.root.exists()
    with pytest.raises(GeloraError, match="no head for question answering"):
        load_model(resolve_model(hub=None, path=str(tmp_path / "model")), SPAN, seed=0)
