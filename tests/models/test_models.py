from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from tokenizers import processors
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification, PreTrainedModel
from transformers.utils import logging as transformers_logging

from gelora_cli.core.artifacts import ModelMap
from gelora_cli.core.errors import GeloraError
from gelora_cli.models.block_map import KINDS, block_modules, count_params, in_modules, map_model
from gelora_cli.models.heads import HeadSpec
from gelora_cli.models.load import LoadedModel, load_model
from gelora_cli.models.locate import CONVERSION_AUTHOR, CONVERSION_TITLE, ResolvedModel, resolve_model
from gelora_cli.models.tokenizer import check_length, check_vocabulary, load_tokenizer
from tests.helpers.tiny import DECODERS, ENCODERS, SENTENCES, make_tiny
from tests.helpers.tiny import KINDS as TINY_KINDS

MODELS = Path(__file__).parents[2] / "configs" / "model"
MINILM: Any = OmegaConf.load(MODELS / "minilm.yaml")

LABELS = HeadSpec("classification", ("unacceptable", "acceptable"))
SCORE = HeadSpec("regression")
SPAN = HeadSpec("question_answering")
TEXTS = ["the cat sat on the mat", "a dog"]

CLASSIFICATION_HEAD = {
    "bert": ("classifier",),
    "roberta": ("classifier",),
    "electra": ("classifier",),
    "deberta-v2": ("pooler", "classifier"),
    "llama": ("score",),
    "mistral": ("score",),
    "qwen2": ("score",),
}
LABELS_AB = HeadSpec("classification", ("a", "b"))
DISTILBERT = {"query": "attention.q_lin", "key": "attention.k_lin", "value": "attention.v_lin", "down": "ffn.lin2"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ResolvedModel]:
    """Every known kind and an unknown one, resolved."""
    root = tmp_path_factory.mktemp("tiny")
    return {kind: from_directory(make_tiny(kind, root / kind)) for kind in (*TINY_KINDS, "distilbert")}


def from_directory(directory: Path) -> ResolvedModel:
    return resolve_model(hub=None, path=str(directory))


def refusal(call: Any, *arguments: Any, **options: Any) -> str:
    """The message with which a call is refused."""
    with pytest.raises(GeloraError) as refused:
        call(*arguments, **options)
    return str(refused.value)


def rewrite_json(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")


def rewrite_weights(directory: Path, change: Any) -> None:
    tensors = load_file(directory / "model.safetensors")
    save_file(change(tensors), directory / "model.safetensors", metadata={"format": "pt"})


# Loading and mapping


def test_the_tiny_models_cover_the_known_kinds() -> None:
    assert set(TINY_KINDS) == set(KINDS)


@pytest.mark.parametrize("head", [LABELS, SCORE, SPAN], ids=lambda head: head.kind)
@pytest.mark.parametrize("kind", TINY_KINDS)
def test_map_names_what_is_in_the_model(tiny: dict[str, ResolvedModel], kind: str, head: HeadSpec) -> None:
    loaded = load_model(tiny[kind], head, seed=1)
    model, map = loaded.model, loaded.map
    modules = dict(model.named_modules())
    assert map.kind == kind
    assert map.head_modules == (("qa_outputs",) if head is SPAN else CLASSIFICATION_HEAD[kind])
    assert [block.index for block in map.blocks] == [1, 2, 3]
    assert block_modules(model, map) == [modules[block.name] for block in map.blocks]
    for linear in (linear for block in map.blocks for linear in block.linears):
        assert modules[linear.name].weight.shape == (linear.out_features, linear.in_features)
    total = sum(parameter.numel() for parameter in model.parameters())
    inside = [name for name in map.head_modules for _ in modules[name].parameters()]
    assert inside and map.head_params + map.backbone_params == total
    assert map.head_params == sum(count_params(modules[name]) for name in map.head_modules)


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_map_finds_every_linear_of_a_block(tiny: dict[str, ResolvedModel], kind: str) -> None:
    loaded = load_model(tiny[kind], LABELS, seed=1)
    model, map = loaded.model, loaded.map
    for block in map.blocks:
        inside = model.get_submodule(block.name).named_modules()
        linears = {f"{block.name}.{name}" for name, module in inside if isinstance(module, torch.nn.Linear)}
        assert {linear.name for linear in block.linears} == linears
        assert len(map.linears(block, "attention")) == 4


@pytest.mark.parametrize("kind", DECODERS)
def test_grouped_query_shapes_are_counted_as_they_are(tiny: dict[str, ResolvedModel], kind: str) -> None:
    map = load_model(tiny[kind], LABELS, seed=1).map
    shapes = {linear.role: (linear.in_features, linear.out_features) for linear in map.blocks[0].linears}
    assert shapes["query"] == shapes["output"] == (32, 32)
    assert shapes["key"] == shapes["value"] == (32, 16)
    assert shapes["gate"] == shapes["up"] == (32, 64) and shapes["down"] == (64, 32)


@pytest.mark.parametrize("head", [LABELS, SCORE, SPAN], ids=lambda head: head.kind)
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


@pytest.mark.parametrize("head", [LABELS, SPAN], ids=lambda head: head.kind)
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


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_head_is_drawn_from_the_seed_and_leaves_no_trace(tiny: dict[str, ResolvedModel], kind: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = load_model(tiny[kind], LABELS, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    second, other = load_model(tiny[kind], LABELS, seed=1), load_model(tiny[kind], LABELS, seed=2)
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name])
    weight = f"{first.map.head_modules[-1]}.weight" if kind in DECODERS else None
    weight = weight or next(n for n, p in first.model.named_parameters() if n.startswith("classifier") and p.ndim == 2)
    assert not torch.equal(first.model.get_parameter(weight), other.model.get_parameter(weight))


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
    config = load_model(tiny["bert"], HeadSpec("classification", ("a", "b", "c")), seed=1).model.config
    assert (config.id2label, config.label2id) == ({0: "a", 1: "b", 2: "c"}, {"a": 0, "b": 1, "c": 2})
    assert config.problem_type == "single_label_classification"
    regression = load_model(tiny["bert"], SCORE, seed=1).model.config
    assert (regression.num_labels, regression.problem_type) == (1, "regression")


@pytest.mark.parametrize("kind", [*ENCODERS, "distilbert"])
def test_dropout_replaces_every_probability(tiny: dict[str, ResolvedModel], kind: str) -> None:
    by_hand: dict[str, Any] = {"blocks": "transformer.layer", "linears": DISTILBERT} if kind == "distilbert" else {}
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


def test_bert_without_pooler_draws_one_inside_the_backbone(tmp_path: Path) -> None:
    resolved = from_directory(make_tiny("bert", tmp_path, architecture="BertForMaskedLM"))
    map = load_model(resolved, LABELS, seed=1).map
    assert map.head_modules == ("bert.pooler", "classifier")
    assert map.head_params == 32 * 32 + 32 + 2 * 32 + 2
    assert load_model(resolved, SPAN, seed=1).map.head_modules == ("qa_outputs",)


HEADS = ("bert", "roberta", "deberta-v2", "electra", "llama")
OUTPUTS = {"bert": "classifier", "roberta": "classifier.out_proj", "deberta-v2": "classifier"}
OUTPUTS |= {"electra": "classifier.out_proj", "llama": "score"}


def saved_task_model(base: ResolvedModel, names: tuple[str, ...], directory: Path, **config: Any) -> ResolvedModel:
    """A classifier with these labels as save_pretrained writes it, its head told apart from a drawn one."""
    loaded = load_model(base, HeadSpec("classification", names), seed=5)
    with torch.no_grad():
        for name in loaded.map.head_modules:
            for parameter in loaded.model.get_submodule(name).parameters():
                parameter.add_(torch.arange(parameter.numel()).reshape(parameter.shape) / 100)
    loaded.model.save_pretrained(directory)
    for file in base.directory.glob("*token*"):
        shutil.copy(file, directory)
    rewrite_json(directory / "config.json", **config)
    return from_directory(directory)


def head_tensors(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    return {
        name: tensor for name, tensor in loaded.model.state_dict().items() if in_modules(name, loaded.map.head_modules)
    }


def equal_tensors(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", HEADS)
def test_a_saved_head_is_matched_by_the_names_of_its_labels(
    tiny: dict[str, ResolvedModel], tmp_path: Path, kind: str
) -> None:
    saved = saved_task_model(tiny[kind], ("Contradiction", "NEUTRAL", "entailment"), tmp_path)
    own = load_file(tmp_path / "model.safetensors")
    mnli = load_model(saved, HeadSpec("classification", ("entailment", "neutral", "contradiction")), seed=2)
    output = OUTPUTS[kind]
    assert torch.equal(mnli.model.get_parameter(f"{output}.weight"), own[f"{output}.weight"][[2, 1, 0]])
    if f"{output}.bias" in own:
        assert torch.equal(mnli.model.get_parameter(f"{output}.bias"), own[f"{output}.bias"][[2, 1, 0]])
    assert "reordered from Contradiction, NEUTRAL, entailment to entailment" in mnli.head_origin
    assert mnli.model.config.id2label == {0: "entailment", 1: "neutral", 2: "contradiction"}
    same = load_model(saved, HeadSpec("classification", ("contradiction", "neutral", "entailment")), seed=2)
    assert equal_tensors(head_tensors(same), {name: own[name] for name in head_tensors(same)})
    assert "same names" in same.head_origin


def test_a_rolled_order_is_not_mistaken_for_its_inverse(tiny: dict[str, ResolvedModel], tmp_path: Path) -> None:
    saved = saved_task_model(tiny["bert"], ("b", "c", "a"), tmp_path)
    own = load_file(tmp_path / "model.safetensors")["classifier.bias"]
    found = load_model(saved, HeadSpec("classification", ("a", "b", "c")), seed=2)
    assert torch.equal(found.model.get_parameter("classifier.bias"), own[[2, 0, 1]])


def test_an_rte_head_serves_wnli(tiny: dict[str, ResolvedModel], tmp_path: Path) -> None:
    saved = saved_task_model(tiny["bert"], ("entailment", "not_entailment"), tmp_path)
    own = load_file(tmp_path / "model.safetensors")["classifier.weight"]
    wnli = load_model(saved, HeadSpec("classification", ("not_entailment", "entailment")), seed=2)
    assert torch.equal(wnli.model.get_parameter("classifier.weight"), own[[1, 0]])


OTHERS: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "other names": (("one", "two"), {}, "is for one, two, not a, b"),
    "some of the names": (("a", "c"), {}, "is for a, c, not a, b"),
    "more names": (("a", "b", "c"), {}, "has not 2 rows"),
    "names that say nothing": (("LABEL_0", "LABEL_1"), {}, "names no labels"),
    "no names": (("a", "b"), {"id2label": None, "label2id": None}, "names no labels"),
    "names of other rows": (("a", "b"), {"id2label": {"0": "a", "2": "b"}}, "names no labels"),
    "one name twice": (("a", "b"), {"id2label": {"0": "a", "1": "A"}}, "is for a, A"),
    "fewer names than rows": (("a", "b"), {"id2label": {"0": "a"}, "problem_type": None}, "is for a, not a, b"),
}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("name", OTHERS)
def test_a_head_for_other_labels_is_drawn_as_if_there_were_none(
    tiny: dict[str, ResolvedModel], tmp_path: Path, kind: str, name: str
) -> None:
    names, config, origin = OTHERS[name]
    found = load_model(saved_task_model(tiny[kind], names, tmp_path, **config), LABELS_AB, seed=2)
    bare = load_model(tiny[kind], LABELS_AB, seed=2)
    assert equal_tensors(head_tensors(found), head_tensors(bare))
    assert equal_tensors(dict(found.model.base_model.state_dict()), dict(bare.model.base_model.state_dict()))
    assert found.map == bare.map
    assert found.head_origin.startswith("drawn from the seed") and origin in found.head_origin
    assert bare.head_origin == "drawn from the seed: the weights hold none"


@pytest.mark.parametrize("names", [("LABEL_0", "LABEL_1"), ("one", "two"), ("b", "a")])
def test_positional_takes_the_rows_as_they_lie(
    tiny: dict[str, ResolvedModel], tmp_path: Path, names: tuple[str, ...]
) -> None:
    saved = saved_task_model(tiny["bert"], names, tmp_path)
    own = load_file(tmp_path / "model.safetensors")
    found = load_model(saved, LABELS_AB, seed=2, positional=True)
    assert torch.equal(found.model.get_parameter("classifier.weight"), own["classifier.weight"])
    assert "by position" in found.head_origin


def test_heads_without_labels_are_kept_where_they_fit(tiny: dict[str, ResolvedModel], tmp_path: Path) -> None:
    for head, output in ((SCORE, "classifier"), (SPAN, "qa_outputs")):
        first = load_model(tiny["bert"], head, seed=5)
        first.model.save_pretrained(tmp_path / head.kind)
        shutil.copytree(tiny["bert"].directory, tmp_path / head.kind, dirs_exist_ok=True, ignore=only_tokenizer)
        again = load_model(from_directory(tmp_path / head.kind), head, seed=6)
        assert torch.equal(again.model.get_parameter(f"{output}.weight"), first.model.get_parameter(f"{output}.weight"))
        assert again.head_origin == "that of the weights"


def only_tokenizer(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name in ("config.json", "model.safetensors")]


def test_an_old_span_head_of_another_width_does_not_change_the_task(tmp_path: Path) -> None:
    resolved = from_directory(make_tiny("bert", tmp_path))
    rewrite_json(tmp_path / "config.json", id2label={str(index): f"LABEL_{index}" for index in range(5)})
    assert load_model(resolved, SPAN, seed=1).model.get_parameter("qa_outputs.weight").shape == (2, 32)


# Known totals


def test_deberta_v3_base_costs_73728_a_unit_of_rank() -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    }
    positions: dict[str, Any] = {"relative_attention": True, "position_buckets": 256, "position_biased_input": False}
    positions |= {"share_att_key": True, "pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm"}
    with torch.device("meta"):
        model = DebertaV2ForSequenceClassification(DebertaV2Config(**sizes, **positions))
    map = map_model(model, head_modules=("pooler", "classifier"))
    assert unit_cost(map, "attention") == 73_728
    assert 2 * unit_cost(map, "all") == 331_776
    assert map.backbone_params == 183_831_552


def test_minilm_costs_18432_a_unit_of_rank() -> None:
    pytest.importorskip(MINILM.package)
    resolved = resolve_model(hub=None, path=None, package=MINILM.package, sha256=MINILM.sha256)
    loaded = load_model(resolved, LABELS, seed=1)
    assert unit_cost(loaded.map, "attention") == 18_432
    assert len(loaded.map.blocks) == 6 and loaded.map.head_modules == ("classifier",)
    assert (loaded.map.backbone_params, loaded.map.head_params) == (22_713_216, 2 * 384 + 2)
    tokenizer = load_tokenizer(resolved)
    check_vocabulary(tokenizer, loaded.model)
    assert tokenizer.decode(tokenizer("The cat sat.")["input_ids"]) == "[CLS] the cat sat. [SEP]"


def unit_cost(map: ModelMap, modules: str) -> int:
    return sum(linear.unit_params for block in map.blocks for linear in map.linears(block, modules))


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


# What is refused at loading


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


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 30.0])
def test_dropout_that_is_no_probability_is_refused(tiny: dict[str, ResolvedModel], dropout: float) -> None:
    message = refusal(load_model, tiny["bert"], LABELS, seed=1, dropout=dropout)
    assert f"model.dropout={dropout}" in message and "accepted" in message


@pytest.mark.parametrize(("kind", "names"), [("classification", ("one",)), ("regression", ("a", "b"))])
def test_head_with_the_wrong_labels_is_refused(kind: Any, names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="label names"):
        HeadSpec(kind, names)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    resolved = from_directory(make_tiny("bert", tmp_path))
    rewrite_json(tmp_path / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    assert "quantised" in refusal(load_model, resolved, LABELS, seed=1)


# Modules named by hand


def test_unknown_kind_says_what_it_found(tiny: dict[str, ResolvedModel]) -> None:
    message = refusal(load_model, tiny["distilbert"], LABELS, seed=1)
    assert "'distilbert'" in message and all(kind in message for kind in KINDS)
    assert "model.blocks=encoder.layer" in message and "model.linears.query=" in message
    assert "transformer.layer (3 blocks; linears: attention.q_lin, attention.k_lin" in message


@pytest.mark.parametrize("blocks", ["transformer.layer", "distilbert.transformer.layer"])
def test_unknown_kind_works_by_hand(tiny: dict[str, ResolvedModel], blocks: str) -> None:
    loaded = load_model(tiny["distilbert"], LABELS, seed=1, blocks=blocks, linears=DISTILBERT)
    first = loaded.map.blocks[0]
    assert first.name == "distilbert.transformer.layer.0" and len(loaded.map.blocks) == 3
    assert [(linear.role, linear.name.rpartition(".")[2]) for linear in first.linears] == [
        ("query", "q_lin"),
        ("key", "k_lin"),
        ("value", "v_lin"),
        ("down", "lin2"),
    ]
    assert loaded.map.head_modules == ("pre_classifier", "classifier")
    tokenizer = load_tokenizer(tiny["distilbert"])
    assert loaded.model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits.shape == (2, 2)


@pytest.mark.parametrize(
    ("blocks", "linears", "named"),
    [
        ("transformer.layers", DISTILBERT, "Did you mean transformer.layer?"),
        ("transformer", DISTILBERT, "found: transformer.layer."),
        ("transformer.layer", {"query": "attention.q_linn"}, "Did you mean attention.q_lin?"),
        ("transformer.layer", {"query": "attention"}, "is a DistilBertSelfAttention"),
        ("transformer.layer", {"querry": "attention.q_lin"}, "Did you mean query?"),
        ("transformer.layer", {"up": "ffn.lin1"}, "at least one of query"),
    ],
)
def test_wrong_names_by_hand_are_refused(
    tiny: dict[str, ResolvedModel], blocks: str, linears: dict[str, str], named: str
) -> None:
    assert named in refusal(load_model, tiny["distilbert"], LABELS, seed=1, blocks=blocks, linears=linears)


def test_empty_linears_of_a_configuration_mean_none(tiny: dict[str, ResolvedModel]) -> None:
    assert load_model(tiny["bert"], LABELS, seed=1, linears={}).map == load_model(tiny["bert"], LABELS, seed=1).map


# Tokenizers


@pytest.mark.parametrize("kind", ENCODERS)
def test_tokenizer_that_drops_its_special_tokens_is_refused(tmp_path: Path, kind: str) -> None:
    resolved = from_directory(make_tiny(kind, tmp_path))
    assert load_tokenizer(resolved, kind).is_fast
    drop_special_tokens(tmp_path)
    message = refusal(load_tokenizer, resolved, kind)
    assert str(tmp_path) in message and "special tokens" in message and "tokenizer.json" in message


def drop_special_tokens(directory: Path, post_processor: dict[str, Any] | None = None) -> None:
    """As some releases did: the same vocabulary, without the step that adds `[CLS]` and `[SEP]`."""
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
    assert f"take task.max_length={longest} or less" in refusal(check_length, tiny[kind], longest + 1)
    model = load_model(tiny[kind], LABELS, seed=1).model
    model(torch.full((1, longest), 7))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, longest + 1), 7))


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
    assert "neither a padding nor an end token" in refusal(load_tokenizer, resolved)


@pytest.fixture
def sentencepiece_only(tmp_path: Path) -> ResolvedModel:
    """DeBERTa's tokenizer as its first checkpoints have it: a sentencepiece model and no tokenizer.json."""
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


# Where a model is


def test_fingerprint_is_of_the_content_alone(tmp_path: Path) -> None:
    first = from_directory(make_tiny("bert", tmp_path / "first"))
    copy = from_directory(shutil.copytree(tmp_path / "first", tmp_path / "copy"))
    (tmp_path / "copy" / "README.md").write_text("not of the model", encoding="utf-8")
    assert from_directory(tmp_path / "copy").fingerprint == copy.fingerprint == first.fingerprint
    assert from_directory(make_tiny("bert", tmp_path / "other", seed=1)).fingerprint != first.fingerprint
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        changed = shutil.copytree(tmp_path / "first", tmp_path / name)
        (changed / name).write_text((changed / name).read_text(encoding="utf-8") + "\n", encoding="utf-8")
        assert from_directory(changed).fingerprint != first.fingerprint


def test_path_is_expanded_and_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tiny("bert", tmp_path / "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for path in ("~/mine", "mine", "./mine", str(tmp_path / "mine")):
        resolved = resolve_model(hub="never/asked", path=path, package=MINILM.package, sha256="0")
        assert (resolved.source, resolved.directory) == (path, tmp_path / "mine")


def test_missing_directory_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "my-bert").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for path in ("models/my-bret", "./models/my-bret", str(tmp_path / "models" / "my-bret")):
        message = refusal(resolve_model, hub=None, path=path)
        assert f"model.path={path}" in message and "config.json" in message
        assert f"Did you mean {tmp_path / 'models' / 'my-bert'}?" in message


def test_file_as_path_is_refused_with_its_directory(tmp_path: Path) -> None:
    directory = make_tiny("bert", tmp_path)
    message = refusal(resolve_model, hub=None, path=str(directory / "model.safetensors"))
    assert "is a file" in message and message.endswith(f"{directory}.")


@pytest.mark.parametrize("path", [None, ""])
def test_no_model_at_all_is_refused(path: str | None) -> None:
    assert "model.path=DIR" in refusal(resolve_model, hub=None, path=path)


@pytest.mark.parametrize(
    ("removed", "added", "named"),
    [
        ("config.json", None, "no config.json"),
        ("model.safetensors", None, "no model.safetensors"),
        ("model.safetensors", "pytorch_model.bin", "only pytorch_model.bin. Pickled weights are never loaded."),
        ("model.safetensors", "weights.safetensors", "only weights.safetensors"),
        ("config.json", "adapter_config.json", "holds an adapter"),
        ("vocab.txt", "adapter_config.json", "holds an adapter"),
    ],
)
def test_incomplete_directory_is_refused(tmp_path: Path, removed: str, added: str | None, named: str) -> None:
    make_tiny("bert", tmp_path)
    (tmp_path / removed).unlink(missing_ok=True)
    if added:
        (tmp_path / added).write_bytes(b"{}")
    message = refusal(from_directory, tmp_path)
    assert str(tmp_path) in message and named in message
    assert "accepted" in message or "save_pretrained" in message


def test_package_is_found_without_importing_it_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny("bert", tmp_path / "gelora_test_package" / "model")
    (tmp_path / "gelora_test_package" / "__init__.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    options: dict[str, Any] = {"hub": "never/asked", "path": None, "package": "gelora_test_package"}
    resolved = resolve_model(**options)
    assert resolved.directory == tmp_path / "gelora_test_package" / "model"
    assert resolved.source == "package gelora_test_package"
    message = refusal(resolve_model, **options, sha256="0" * 64)
    assert "0" * 64 in message and "sha256" in message and "again" in message


# The hub

REPOSITORY = "owner/name"
MAIN, CONVERTED = "a" * 40, "b" * 40


class Hub:
    """A hub on this machine with one repository: its revisions, their files and its pull requests."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        self.parents: dict[str, list[str]] = {}
        self.requests: list[dict[str, Any]] = []
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, handler: BaseHTTPRequestHandler, body: bool) -> None:
        path = unquote(urlsplit(handler.path).path)
        self.asked.append(path)
        if path.startswith(f"/{REPOSITORY}/resolve/"):
            commit, _, name = path.removeprefix(f"/{REPOSITORY}/resolve/").partition("/")
            content = (self.files[commit] / name).read_bytes()
        else:
            content = json.dumps(self.api(path)).encode()
            commit = ""
        found = content != b"null"
        content = content if found else b"{}"
        handler.send_response(200 if found else 404)
        if not found:
            handler.send_header("X-Error-Code", "RepoNotFound" if REPOSITORY not in path else "RevisionNotFound")
        handler.send_header("X-Repo-Commit", commit)
        handler.send_header("ETag", f'"{commit}{len(content)}{path.rpartition("/")[2]}"')
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if body:
            handler.wfile.write(content)

    def api(self, path: str) -> Any:
        what, _, revision = path.removeprefix(f"/api/models/{REPOSITORY}").removeprefix("/").partition("/")
        commit = {"": MAIN, "main": MAIN, "refs/pr/4": CONVERTED}.get(revision, revision)
        if what == "discussions":
            return {"discussions": self.requests, "count": len(self.requests), "start": 0}
        if commit not in self.files or REPOSITORY not in path:
            return None
        if what == "commits":
            ids = [commit, *self.parents[commit]]
            return [
                {"id": i, "title": "", "message": "", "date": "2023-01-01T00:00:00.000Z", "authors": []} for i in ids
            ]
        names = sorted(file.name for file in self.files[commit].iterdir())
        if what == "tree":
            return [{"type": "file", "path": name, "size": 1, "oid": f"{commit}{name}"} for name in names]
        return {"id": REPOSITORY, "sha": commit, "siblings": [{"rfilename": name} for name in names]}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub whose `main` has safetensors, and a pickle and a README that nobody needs."""
    hub = Hub()
    hub.files = {MAIN: make_tiny("bert", tmp_path / "main")}
    hub.parents = {MAIN: []}
    for name in ("pytorch_model.bin", "README.md"):
        (hub.files[MAIN] / name).write_bytes(b"unused")
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


def converted(hub: Hub, tmp_path: Path, **fields: Any) -> None:
    """Take the safetensors off `main`, and let the converter's pull request propose them."""
    hub.files[CONVERTED] = shutil.copytree(hub.files[MAIN], tmp_path / "converted")
    hub.parents[CONVERTED] = [MAIN]
    (hub.files[MAIN] / "model.safetensors").unlink()
    request = {"num": 4, "title": CONVERSION_TITLE, "status": "open", "isPullRequest": True, "isReport": False}
    request |= {"author": {"name": CONVERSION_AUTHOR}, "createdAt": "2023-01-01T00:00:00.000Z"}
    hub.requests = [request | {"repo": {"name": REPOSITORY, "type": "model"}} | fields]


def resolve_apart(home: Path, endpoint: str, *, offline: bool = False, **options: Any) -> dict[str, Any]:
    """What `resolve_model` gives in a process of its own with that `HF_HOME` and `HF_ENDPOINT`."""
    code = (
        "import json, sys\n"
        "from gelora_cli.core.errors import GeloraError\n"
        "from gelora_cli.models.locate import resolve_model\n"
        "try:\n"
        "    found = resolve_model(**json.loads(sys.argv[1]))\n"
        "    answer = {'source': found.source, 'directory': str(found.directory), 'fingerprint': found.fingerprint}\n"
        "except GeloraError as error:\n"
        "    answer = {'error': str(error)}\n"
        "heavy = [name for name in ('torch', 'transformers', 'numpy') if name in sys.modules]\n"
        "print(json.dumps(answer | {'heavy': heavy}))\n"
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    environment = inherited | {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": str(int(offline))}
    arguments = json.dumps({"hub": REPOSITORY, "path": None} | options)
    done = subprocess.run(
        [sys.executable, "-c", code, arguments], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


NOWHERE = "http://127.0.0.1:9"


def test_hub_snapshot_is_fetched_pinned_and_found_again_offline(hub: Hub, tmp_path: Path) -> None:
    online = resolve_apart(tmp_path / "home", hub.url)
    assert online["source"] == f"{REPOSITORY}@{MAIN}" and online["heavy"] == []
    assert online["fingerprint"] == from_directory(hub.files[MAIN]).fingerprint
    snapshot = Path(online["directory"])
    assert snapshot.name == MAIN and snapshot.is_relative_to(tmp_path / "home")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in snapshot.iterdir()}
    assert not any("pytorch_model.bin" in path or "README" in path for path in hub.asked)
    assert resolve_apart(tmp_path / "home", hub.url, offline=True) == online
    assert resolve_apart(tmp_path / "home", NOWHERE) == online
    assert resolve_apart(tmp_path / "home", NOWHERE, hub=None, path=REPOSITORY) == online


def test_converters_pull_request_is_taken_where_main_has_no_safetensors(hub: Hub, tmp_path: Path) -> None:
    converted(hub, tmp_path)
    online = resolve_apart(tmp_path / "home", hub.url)
    assert online["source"] == f"{REPOSITORY}@{CONVERTED}"
    assert online["fingerprint"] == from_directory(hub.files[CONVERTED]).fingerprint
    assert resolve_apart(tmp_path / "home", hub.url, offline=True) == online
    assert resolve_apart(tmp_path / "home", hub.url, revision="refs/pr/4") == online


@pytest.mark.parametrize(
    ("fields", "offered"),
    [
        ({"author": {"name": "somebody"}}, False),
        ({"status": "closed"}, False),
        ({"title": "Better weights"}, False),
        ({"isPullRequest": False}, False),
        ({}, True),
    ],
    ids=["author", "closed", "title", "discussion", "main has moved on"],
)
def test_other_pull_requests_are_not_taken(hub: Hub, tmp_path: Path, fields: dict[str, Any], offered: bool) -> None:
    converted(hub, tmp_path, **fields)
    hub.parents[CONVERTED] = ["c" * 40 if offered else MAIN]
    error = resolve_apart(tmp_path / "home", hub.url)["error"]
    assert "only pytorch_model.bin. Pickled weights are never loaded." in error and "save_pretrained" in error
    assert ("model.revision=refs/pr/4" in error) == offered
    assert not any("resolve" in path for path in hub.asked)


def test_unknown_repository_or_revision_is_refused(hub: Hub, tmp_path: Path) -> None:
    missing = resolve_apart(tmp_path / "home", hub.url, hub="owner/other")["error"]
    assert "no public model owner/other" in missing and "model.path=DIR" in missing
    revision = resolve_apart(tmp_path / "home", hub.url, revision="v9")["error"]
    assert f"{REPOSITORY} at revision v9" in revision and "model.revision" in revision


def test_hub_out_of_reach_is_refused(tmp_path: Path) -> None:
    answer = resolve_apart(tmp_path, NOWHERE, path="microsoft/deberta-v3-base")
    assert answer["heavy"] == []
    for part in (f"microsoft/deberta-v3-base can't be fetched from {NOWHERE}", "refused", "model.path=DIR"):
        assert part in answer["error"]
    assert "model=minilm" in answer["error"] and "constraints.txt -e" in answer["error"]
    assert "There is no directory microsoft/deberta-v3-base here" in answer["error"]


def test_cached_snapshot_is_used_offline(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--owner--name"
    directory = make_tiny("bert", folder / "snapshots" / MAIN)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(MAIN, encoding="utf-8")
    answer = resolve_apart(tmp_path, NOWHERE, offline=True)
    assert answer["source"] == f"{REPOSITORY}@{MAIN}"
    assert answer["fingerprint"] == from_directory(directory).fingerprint
    assert resolve_apart(tmp_path, NOWHERE, offline=True, revision=MAIN) == answer
    assert "can't be fetched" in resolve_apart(tmp_path, NOWHERE, offline=True, revision="v2")["error"]
    assert "sha256" in resolve_apart(tmp_path, NOWHERE, offline=True, sha256="0" * 64)["error"]


def test_local_directory_is_resolved_without_heavy_imports(tmp_path: Path) -> None:
    make_tiny("bert", tmp_path / "model")
    assert resolve_apart(tmp_path, NOWHERE, path=str(tmp_path / "model"))["heavy"] == []


# The configurations


@pytest.mark.parametrize("file", sorted(MODELS.glob("*.yaml")), ids=lambda file: file.stem)
def test_model_configuration_says_what_it_is(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    values: Any = OmegaConf.create(text)
    assert text.startswith("# ") and values["name"] == file.stem and values["hub"].count("/") == 1
    assert set(values) <= {"name", "hub", "package", "sha256", "bytes"}
