"""Tokenizers, special tokens and the longest input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import processors

from gelora_cli.models.load import load_model
from gelora_cli.models.locate import ResolvedModel
from gelora_cli.models.tokenizer import check_length, check_positions, check_vocabulary, load_tokenizer
from tests.helpers.models import LABELS, from_directory, refusal, rewrite_json
from tests.helpers.tiny import DECODERS, ENCODERS, SENTENCES, make_tiny


@pytest.mark.parametrize("kind", ENCODERS)
def test_tokenizer_that_drops_its_special_tokens_is_refused(tmp_path: Path, kind: str) -> None:
    resolved = from_directory(make_tiny(kind, tmp_path))
    assert load_tokenizer(resolved, kind).is_fast
    drop_special_tokens(tmp_path)
    message = refusal(load_tokenizer, resolved, kind)
    assert str(tmp_path) in message and "special tokens" in message and "tokenizer.json" in message


def drop_special_tokens(directory: Path, post_processor: dict[str, Any] | None = None) -> None:
    """Keep the vocabulary without the step that adds `[CLS]` and `[SEP]`, as some releases did."""
    rewrite_json(directory / "tokenizer.json", post_processor=post_processor)
    rewrite_json(directory / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


def test_tokenizer_that_does_not_part_a_pair_is_refused(tmp_path: Path) -> None:
    resolved = from_directory(make_tiny("bert", tmp_path))
    template = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    drop_special_tokens(tmp_path, json.loads(template.__getstate__()))
    message = refusal(load_tokenizer, resolved)
    assert "['[CLS]', 'a', 'a', '[SEP]']" in message and "[SEP] after each text" in message


def test_vocabulary_larger_than_the_embeddings_is_refused(tiny: dict[str, ResolvedModel]) -> None:
    model = load_model(tiny["deberta-v2"], LABELS, seed=1).model
    tokenizer = load_tokenizer(tiny["bert"])
    message = refusal(check_vocabulary, tokenizer, model)
    assert f"up to {len(tokenizer) - 1}" in message and f"0 to {model.config.vocab_size - 1}" in message


@pytest.mark.parametrize(("kind", "longest"), [("bert", 512), ("roberta", 512), ("electra", 512)])
def test_longest_input_is_the_one_that_the_model_still_takes(
    tiny: dict[str, ResolvedModel], kind: str, longest: int
) -> None:
    check_length(tiny[kind], longest)
    assert f"give task.max_length={longest} or less" in refusal(check_length, tiny[kind], longest + 1)
    model = load_model(tiny[kind], LABELS, seed=1).model
    model(torch.full((1, longest), 7))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, longest + 1), 7))


def test_positions_have_room_for_generated_tokens(tiny: dict[str, ResolvedModel]) -> None:
    check_length(tiny["bert"], 500, 12)
    message = refusal(check_length, tiny["bert"], 500, 13)
    assert "task.max_length=500 and task.max_new_tokens=13 make up to 513 tokens" in message
    assert "together they are 512 or less" in message


@pytest.mark.parametrize("kind", ["deberta-v2", *DECODERS])
def test_relative_positions_have_no_longest_input(tiny: dict[str, ResolvedModel], kind: str) -> None:
    check_length(tiny[kind], 600)
    load_model(tiny[kind], LABELS, seed=1).model(torch.full((1, 600), 7))


def test_first_id_without_a_row_is_refused(tiny: dict[str, ResolvedModel]) -> None:
    model, tokenizer = load_model(tiny["bert"], LABELS, seed=1).model, load_tokenizer(tiny["bert"])
    check_vocabulary(tokenizer, model)
    tokenizer.add_tokens(["neologism"])
    assert f"up to {model.config.vocab_size}," in refusal(check_vocabulary, tokenizer, model)


def test_directory_without_tokenizer_is_refused(tmp_path: Path) -> None:
    resolved = from_directory(make_tiny("deberta-v2", tmp_path))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    message = refusal(load_tokenizer, resolved)
    assert str(tmp_path) in message and "no tokenizer" in message and "tokenizer.json" in message


def test_decoder_without_padding_or_end_token_is_refused(tmp_path: Path) -> None:
    resolved = from_directory(make_tiny("llama", tmp_path))
    rewrite_json(tmp_path / "tokenizer_config.json", eos_token=None)
    assert "neither a padding nor" in refusal(load_tokenizer, resolved)


@pytest.fixture
def sentencepiece_only(tmp_path: Path) -> ResolvedModel:
    """Make DeBERTa's tokenizer as its first checkpoints have it: a sentencepiece model and no tokenizer.json."""
    directory = make_tiny("deberta-v2", tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (directory / name).unlink()
    (tmp_path / "text").write_text("\n".join(SENTENCES * 20), encoding="utf-8")
    sentencepiece = pytest.importorskip("sentencepiece")
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"),
        model_prefix=str(directory / "spm"),
        vocab_size=60,
        **{"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3},
        **{"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"},
        minloglevel=2,
    )
    return from_directory(directory)


def test_sentencepiece_vocabulary_is_read(sentencepiece_only: ResolvedModel) -> None:
    tokenizer = load_tokenizer(sentencepiece_only)
    assert tokenizer.is_fast and tokenizer.unk_token_id not in tokenizer("the cat sat on the mat")["input_ids"]
    check_vocabulary(tokenizer, load_model(sentencepiece_only, LABELS, seed=1).model)


@pytest.mark.parametrize(("module", "package"), [("sentencepiece", "sentencepiece"), ("google.protobuf", "protobuf")])
def test_missing_tokenizer_package_is_named(
    sentencepiece_only: ResolvedModel, monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert f"pip install {package}." in refusal(load_tokenizer, sentencepiece_only)


@pytest.mark.parametrize(
    ("model_type", "config", "longest"),
    [
        ("phi3", {"rope_scaling": None, "original_max_position_embeddings": 4096}, None),
        ("phi3", {"rope_scaling": {"type": "longrope"}, "original_max_position_embeddings": 4096}, 4096),
        ("phi3", {"rope_scaling": {"type": "su"}, "original_max_position_embeddings": 4096}, 4096),
        ("phi3", {"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 2048}}, 2048),
        ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, 8192),
        ("llama", {"rope_scaling": {"rope_type": "llama3", "original_max_position_embeddings": 4096}}, None),
        ("gemma3_text", {"rope_parameters": {"full_attention": {"rope_type": "dynamic"}}}, 8192),
        ("llama", {"rope_scaling": "damaged"}, None),
        ("gpt2", {"n_positions": 512}, 512),
        ("gpt2", {}, 8192),
    ],
)
def test_positions_that_depend_on_the_batch_limit_the_length(
    model_type: str, config: dict[str, Any], longest: int | None
) -> None:
    whole = {"model_type": model_type, "max_position_embeddings": 8192, **config}
    check_positions(whole, "it", longest or 100_000)
    if longest:
        message = refusal(check_positions, whole, "it", longest + 1)
        assert f"task.max_length={longest} or less" in message
        assert ("longest text of a batch" in message) == (model_type != "gpt2")
