"""The map of blocks, linears and parameter counts, by kind and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.block_map import block_modules, count_params, map_model
from gelora_cli.models.heads import HeadSpec
from gelora_cli.models.load import load_model
from gelora_cli.models.locate import ResolvedModel, resolve_model
from gelora_cli.models.tokenizer import check_vocabulary, load_tokenizer
from tests.helpers.models import ERNIE, LABELS, SCORE, SPAN, TEXTS, refusal
from tests.helpers.tiny import ALL_KINDS, DECODERS
from tests.helpers.tiny import KINDS as TINY_KINDS

MODELS = Path(__file__).parents[2] / "configs" / "model"
MINILM: Any = OmegaConf.load(MODELS / "minilm.yaml")


CLASSIFICATION_HEAD = {
    "bert": ("classifier",),
    "roberta": ("classifier",),
    "electra": ("classifier",),
    "deberta-v2": ("pooler", "classifier"),
    "llama": ("score",),
    "mistral": ("score",),
    "qwen2": ("score",),
}


def test_the_tiny_models_cover_the_known_kinds() -> None:
    assert set(ALL_KINDS) == set(MODEL_KINDS.names())


@pytest.mark.parametrize("head", [LABELS, SCORE, SPAN], ids=lambda head: head.model_type)
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


def test_unknown_kind_says_what_it_found(tiny: dict[str, ResolvedModel]) -> None:
    message = refusal(load_model, tiny["ernie"], LABELS, seed=1)
    assert "'ernie' is declared nowhere" in message and "model.accept_map=true" in message
    assert "model.blocks=encoder.layer '+model.linears={query: attention.self.query, key: " in message
    assert "output  attention.output.dense  32 -> 32" in message


@pytest.mark.parametrize("blocks", ["encoder.layer", "ernie.encoder.layer"])
def test_unknown_kind_works_by_hand(tiny: dict[str, ResolvedModel], blocks: str) -> None:
    loaded = load_model(tiny["ernie"], LABELS, seed=1, blocks=blocks, linears=ERNIE)
    first = loaded.map.blocks[0]
    assert first.name == "ernie.encoder.layer.0" and len(loaded.map.blocks) == 3
    assert [(linear.role, linear.name.rpartition(".")[2]) for linear in first.linears] == [
        ("query", "query"),
        ("key", "key"),
        ("value", "value"),
        ("down", "dense"),
    ]
    assert loaded.map.head_modules == ("ernie.pooler", "classifier")
    tokenizer = load_tokenizer(tiny["ernie"])
    assert loaded.model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits.shape == (2, 2)


@pytest.mark.parametrize(
    ("blocks", "linears", "named"),
    [
        ("encoder.layers", ERNIE, "did you mean encoder.layer?"),
        ("encoder", ERNIE, "accepted: encoder.layer"),
        ("encoder.layer", {"query": "attention.self.querry"}, "did you mean attention.self.query?"),
        ("encoder.layer", {"query": "attention"}, "is a ErnieAttention"),
        ("encoder.layer", {"querry": "attention.self.query"}, "did you mean query?"),
        ("encoder.layer", {"up": "intermediate.dense"}, "at least one of query"),
    ],
)
def test_wrong_names_by_hand_are_refused(
    tiny: dict[str, ResolvedModel], blocks: str, linears: dict[str, str], named: str
) -> None:
    assert named in refusal(load_model, tiny["ernie"], LABELS, seed=1, blocks=blocks, linears=linears)


def test_empty_linears_of_a_configuration_mean_none(tiny: dict[str, ResolvedModel]) -> None:
    assert load_model(tiny["bert"], LABELS, seed=1, linears={}).map == load_model(tiny["bert"], LABELS, seed=1).map
