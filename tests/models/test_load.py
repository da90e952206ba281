"""Loading weights and configurations, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from gelora_cli.core.errors import StoppedError
from gelora_cli.models.heads import HeadSpec, LabelHead
from gelora_cli.models.load import load_model
from gelora_cli.models.locate import ResolvedModel
from gelora_cli.models.tokenizer import check_vocabulary, load_tokenizer
from tests.helpers.models import (
    ERNIE,
    LABELS,
    SCORE,
    SPAN,
    TEXTS,
    from_directory,
    refusal,
    rewrite_json,
    rewrite_weights,
)
from tests.helpers.tiny import DECODERS, ENCODERS, make_tiny
from tests.helpers.tiny import KINDS as TINY_KINDS


@pytest.mark.parametrize("head", [LABELS, SCORE, SPAN], ids=lambda head: head.model_type)
@pytest.mark.parametrize("kind", TINY_KINDS)
def test_padding_leaves_the_outputs_of_the_shorter_text(
    tiny: dict[str, ResolvedModel], kind: str, head: HeadSpec
) -> None:
    loaded, tokenizer = load_model(tiny[kind], head, seed=1), load_tokenizer(tiny[kind], kind)
    check_vocabulary(tokenizer, loaded.model)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    alone = tokenizer(TEXTS[1], return_tensors="pt")
    length = alone["input_ids"].shape[1]
    assert length < batch["input_ids"].shape[1]
    with torch.no_grad():
        together, single = loaded.model(**batch), loaded.model(**alone)
    if head is SPAN:
        torch.testing.assert_close(together.start_logits[1, :length], single.start_logits[0], atol=1e-5, rtol=1e-4)
    else:
        assert together.logits.shape == (2, 2 if head is LABELS else 1)
        torch.testing.assert_close(together.logits[1], single.logits[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("head", [LABELS, SPAN], ids=lambda head: head.model_type)
@pytest.mark.parametrize("kind", TINY_KINDS)
def test_backbone_holds_the_weights_of_the_file(tiny: dict[str, ResolvedModel], kind: str, head: HeadSpec) -> None:
    model = load_model(tiny[kind], head, seed=1).model
    saved = load_file(tiny[kind].directory / "model.safetensors")
    query = next(
        name
        for name, _ in model.named_parameters()
        if name.endswith(("q_proj.weight", "query.weight", "query_proj.weight"))
    )
    inner = query.removeprefix(f"{model.base_model_prefix}.")
    (tensor,) = [tensor for name, tensor in saved.items() if name == inner or name.split(".", 1)[1] == inner]
    assert torch.equal(model.get_parameter(query), tensor)


def test_half_precision_weights_become_float32_in_evaluation_mode(tmp_path: Path) -> None:
    resolved = from_directory(make_tiny("deberta-v2", tmp_path))
    rewrite_weights(tmp_path, lambda tensors: {name: tensor.half() for name, tensor in tensors.items()})
    rewrite_json(tmp_path / "config.json", dtype="float16")
    model = load_model(resolved, LABELS, seed=1).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not any(module.training for module in model.modules())


def test_loading_is_silent_and_restores_verbosity(
    tiny: dict[str, ResolvedModel], capfd: pytest.CaptureFixture[str]
) -> None:
    logging: Any = transformers_logging
    before = logging.get_verbosity()
    logging.set_verbosity(logging.INFO)
    logging.enable_progress_bar()
    load_model(tiny["deberta-v2"], LABELS, seed=1)
    load_tokenizer(tiny["deberta-v2"])
    during = logging.get_verbosity()
    logging.set_verbosity(before)
    assert capfd.readouterr() == ("", "")
    assert during == logging.INFO and logging.is_progress_bar_enabled()


def test_config_carries_the_labels_of_the_task(tiny: dict[str, ResolvedModel]) -> None:
    config = load_model(tiny["bert"], LabelHead(("a", "b", "c")), seed=1).model.config
    assert (config.id2label, config.label2id) == ({0: "a", 1: "b", 2: "c"}, {"a": 0, "b": 1, "c": 2})
    assert config.problem_type == "single_label_classification"
    regression = load_model(tiny["bert"], SCORE, seed=1).model.config
    assert (regression.num_labels, regression.problem_type) == (1, "regression")


@pytest.mark.parametrize("kind", [*ENCODERS, "ernie"])
def test_dropout_replaces_every_probability(tiny: dict[str, ResolvedModel], kind: str) -> None:
    by_hand: dict[str, Any] = {"blocks": "encoder.layer", "linears": ERNIE} if kind == "ernie" else {}
    model = load_model(tiny[kind], LABELS, seed=1, dropout=0.37, **by_hand).model
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {0.37}
    assert getattr(model.config, "classifier_dropout", 0.37) == 0.37
    own = load_model(tiny[kind], LABELS, seed=1, **by_hand).model
    assert 0.37 not in {module.p for module in own.modules() if isinstance(module, torch.nn.Dropout)}


@pytest.mark.parametrize("kind", DECODERS)
def test_decoder_gets_a_padding_token_no_cache_and_its_dropout(tiny: dict[str, ResolvedModel], kind: str) -> None:
    config = load_model(tiny[kind], LABELS, seed=1, dropout=0.37).model.config
    tokenizer = load_tokenizer(tiny[kind], kind)
    assert config.pad_token_id == tokenizer.pad_token_id == tokenizer.eos_token_id is not None
    assert config.use_cache is False and config.attention_dropout == 0.37
    assert tokenizer.padding_side == "right"


def test_shards_are_loaded_and_a_missing_one_is_refused(tiny: dict[str, ResolvedModel], tmp_path: Path) -> None:
    whole = load_model(tiny["deberta-v2"], LABELS, seed=1)
    cast(PreTrainedModel, whole.model.base_model).save_pretrained(tmp_path, max_shard_size="50KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1 and not (tmp_path / "model.safetensors").exists()
    resolved = from_directory(tmp_path)
    loaded = load_model(resolved, LABELS, seed=1)
    assert loaded.map == whole.map
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, loaded.model.state_dict()[name])
    shards[-1].unlink()
    assert shards[-1].name in refusal(from_directory, tmp_path)
    assert shards[-1].name in refusal(load_model, resolved, LABELS, seed=1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda tensors: {k: v for k, v in tensors.items() if "layer.1." not in k}, "bert.encoder.layer.1."),
        (lambda tensors: {k: v for k, v in tensors.items() if "embeddings" not in k}, "bert.embeddings."),
        (lambda tensors: {k: v for k, v in tensors.items() if k != "pooler.dense.bias"}, "bert.pooler.dense.bias"),
        (lambda tensors: tensors | {"encoder.layer.0.output.dense.weight": torch.ones(2, 2)}, "another shape"),
        (lambda tensors: {f"other.{k}": v for k, v in tensors.items()}, "bert.embeddings."),
    ],
    ids=["block", "embeddings", "half a pooler", "shape", "all"],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change: Any, named: str) -> None:
    resolved = from_directory(make_tiny("bert", tmp_path))
    rewrite_weights(tmp_path, change)
    message = refusal(load_model, resolved, LABELS, seed=1)
    assert str(tmp_path) in message and "don't fit" in message and named in message and "save_pretrained" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    resolved = from_directory(make_tiny("roberta", tmp_path))

    def spoil(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors["roberta.encoder.layer.1.output.dense.bias"][3] = value
        return tensors

    rewrite_weights(tmp_path, spoil)
    message = refusal(load_model, resolved, LABELS, seed=1)
    assert (
        "roberta.encoder.layer.1.output.dense.bias" in message and "finite" in message and "fetch it again" in message
    )


def test_cut_off_weights_are_refused(tmp_path: Path) -> None:
    resolved = from_directory(make_tiny("bert", tmp_path))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    message = refusal(load_model, resolved, LABELS, seed=1)
    assert str(tmp_path) in message and "can't be loaded" in message and "again" in message


def test_remote_code_is_never_run(tmp_path: Path) -> None:
    resolved = from_directory(make_tiny("bert", tmp_path))
    config = '{"model_type": "brandnew", "auto_map": {"AutoConfig": "code.Brandnew"}}'
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", encoding="utf-8")
    for load in (lambda: load_model(resolved, LABELS, seed=1), lambda: load_tokenizer(resolved)):
        message = refusal(load)
        assert str(tmp_path) in message and "no remote code" in message and "another model" in message
    assert not (tmp_path / "ran").exists()


def test_damaged_configuration_is_refused(tmp_path: Path) -> None:
    resolved = from_directory(make_tiny("bert", tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": ', encoding="utf-8")
    for load in (lambda: load_model(resolved, LABELS, seed=1), lambda: load_tokenizer(resolved)):
        assert f"config.json of {tmp_path} can't be read" in refusal(load)


def test_a_value_that_transformers_refuses_is_named_with_what_it_expects(tmp_path: Path) -> None:
    resolved = from_directory(make_tiny("deberta", tmp_path))
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_relative_positions": "far"}), encoding="utf-8")
    message = refusal(load_model, resolved, LABELS, seed=1)
    assert "'max_relative_positions'" in message and "expected int" in message and "newer" not in message


@pytest.mark.parametrize("loaded", ["AutoConfig", "AutoTokenizer", "AutoModelForSequenceClassification"])
def test_a_signal_during_loading_is_no_damage(
    tiny: dict[str, ResolvedModel], loaded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise StoppedError("interrupted by SIGTERM")

    monkeypatch.setattr(getattr(transformers, loaded), "from_pretrained", stopped)
    with pytest.raises(StoppedError, match=r"^interrupted by SIGTERM$"):
        load_tokenizer(tiny["bert"], "bert")
        load_model(tiny["bert"], LABELS, seed=1)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 30.0])
def test_dropout_that_is_no_probability_is_refused(tiny: dict[str, ResolvedModel], dropout: float) -> None:
    message = refusal(load_model, tiny["bert"], LABELS, seed=1, dropout=dropout)
    assert f"model.dropout={dropout}" in message and "accepted" in message


def test_quantized_weights_are_refused(tmp_path: Path) -> None:
    make_tiny("bert", tmp_path)
    rewrite_json(tmp_path / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    message = refusal(from_directory, tmp_path)
    assert "quantized" in message and "model.dtype=4bit" in message
