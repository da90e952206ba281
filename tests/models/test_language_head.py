"""The head that scores the next token: part of the pretrained model, which must be in the weights and stays frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from gelora_cli.models.load import LoadedModel, load_model
from tests.helpers.language_checks import attach_to_language_model, check_language_operations
from tests.helpers.models import LANGUAGE, TEXTS, from_directory, refusal, rewrite_weights
from tests.helpers.tiny import DECODERS, make_tiny, make_tokenizer
from tests.helpers.tiny_decoders import MORE_DECODERS

UNTIED, TIED, PREFIXED = "llama", "qwen3", "gpt2"
"""One with a head of its own, one whose head is its embeddings, and one whose backbone has another prefix."""


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("language")
    return {kind: make_tiny(kind, root / kind) for kind in (UNTIED, TIED, PREFIXED)}


def load(directory: Path, seed: int = 1) -> LoadedModel:
    return load_model(from_directory(directory), LANGUAGE, seed=seed)


@pytest.mark.parametrize("kind", [UNTIED, TIED, PREFIXED])
def test_it_scores_as_transformers_does_and_counts_as_backbone(directories: dict[str, Path], kind: str) -> None:
    loaded = load(directories[kind])
    plain: Any = AutoModelForCausalLM.from_pretrained(directories[kind])  # in evaluation mode
    inputs = make_tokenizer(kind)(TEXTS[:1], return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(**inputs).logits, plain(**inputs).logits, atol=1e-5, rtol=1e-4)
    assert (loaded.map.head_modules, loaded.map.head_params) == ((), 0)
    assert loaded.map.backbone_params == sum(parameter.numel() for parameter in plain.parameters())
    assert "that of the pretrained model" in loaded.head_origin
    assert not loaded.arguments.keys() - {"pad_token_id"}
    other = load(directories[kind], seed=2)  # nothing is drawn
    assert all(
        torch.equal(one, two) for one, two in zip(loaded.model.parameters(), other.model.parameters(), strict=True)
    )


@pytest.mark.parametrize("kind", [UNTIED, TIED])
def test_an_adapter_neither_trains_nor_saves_it(directories: dict[str, Path], kind: str, tmp_path: Path) -> None:
    attached, _ = attach_to_language_model(load(directories[kind]))
    assert attached.trainable() and all("lora_" in name for name in attached.trainable())
    attached.save(tmp_path)
    assert all("lora_" in name for name in load_file(tmp_path / "adapter_model.safetensors"))


@pytest.mark.parametrize("kind", [UNTIED, TIED, PREFIXED])
def test_its_operations_are_those_that_torch_counts(directories: dict[str, Path], kind: str) -> None:
    check_language_operations(directories[kind], kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*DECODERS, *MORE_DECODERS])
def test_operations_of_every_decoder(tmp_path: Path, kind: str) -> None:
    check_language_operations(make_tiny(kind, tmp_path), kind)


def without(*parts: str) -> Any:
    """Return a change of weights that leaves out the tensors with such a part in their names."""

    def left(tensors: dict[str, Any]) -> dict[str, Any]:
        return {name: tensor for name, tensor in tensors.items() if not any(map(name.count, parts))}

    return left


def test_weights_without_it_are_refused(tmp_path: Path) -> None:
    directory = make_tiny(UNTIED, tmp_path)
    whole = load_file(directory / "model.safetensors")
    rewrite_weights(directory, without("lm_head"))
    message = refusal(load, directory)
    assert "hold no lm_head.weight" in message and "LlamaForCausalLM are accepted" in message
    rewrite_weights(directory, lambda tensors: tensors | {"lm_head.weight": whole["lm_head.weight"][:-3].clone()})
    assert "hold another shape of lm_head.weight" in refusal(load, directory)


def test_a_backbone_alone_is_enough_where_the_embeddings_score(tmp_path: Path) -> None:
    directory = make_tiny(TIED, tmp_path / "whole")
    backbone = make_tiny(TIED, tmp_path / "backbone", architecture="Qwen3Model")
    whole, alone = load(directory), load(backbone)
    assert whole.map == alone.map
    rewrite_weights(backbone, without("layers.1.mlp.up_proj"))
    assert "don't fit its config.json" in refusal(load, backbone)


def test_a_backbone_alone_is_refused_where_it_has_weights_of_its_own(tmp_path: Path) -> None:
    directory = make_tiny(UNTIED, tmp_path, architecture="LlamaModel")
    assert "hold no lm_head.weight" in refusal(load, directory)
