"""Kinds of model: what an entry must say, and one that a user adds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from peft import get_peft_model
from transformers import ModernBertConfig, ModernBertForSequenceClassification

from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.api import lora_config
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.plugins import load_plugins
from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.block_map import map_model
from gelora_cli.models.kinds.base import EncoderKind, ModelKind, kind_of
from tests.helpers.bench import Bench, result_of
from tests.helpers.method_cases import profile_of
from tests.helpers.registries import forget_entries_afterwards
from tests.helpers.tiny import DECODERS, make_tiny
from tests.helpers.tiny_decoders import MORE_DECODERS

ERNIE = """
from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.kinds.base import EncoderKind


@MODEL_KINDS.register
class Ernie(EncoderKind):
    name = "ernie"
    blocks = "encoder.layer"
    linears = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "output": "attention.output.dense",
        "up": "intermediate.dense",
        "down": "output.dense",
    }
"""

LONGEST_OF_100 = {
    **dict.fromkeys(("bert", "electra", "deberta-v2", "deberta", "distilbert", "gpt2", "albert"), 100),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert", "mpnet"), 98),
}
"""Tokens for which a kind has positions, of 100 rows of their table; the others have rotary positions."""


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_entries_afterwards(monkeypatch, MODEL_KINDS)


def test_a_kind_of_a_users_folder_is_mapped_profiled_and_trained(tmp_path: Path, glue_dir: Path) -> None:
    bench = Bench(tmp_path / "runs", glue_dir, {"ernie": make_tiny("ernie", tmp_path / "model")})
    assert bench.run("task=cola", model="ernie") != 0
    (tmp_path / "kinds").mkdir()
    (tmp_path / "kinds" / "ernie.py").write_text(ERNIE, encoding="utf-8")
    load_plugins(tmp_path / "kinds")
    assert bench.run("task=cola", model="ernie") == 0
    directory = next(found for found in bench.directories() if (found / "DONE").exists())
    assert len(read_artifact(IdProfile, directory / IdProfile.FILE).layers) == 4
    plan = read_artifact(RankPlan, directory / RankPlan.FILE)
    assert any(name.startswith("ernie.encoder.layer.2.attention.") for name in plan.rank_pattern)
    assert result_of(directory).reload_check.passed


def test_every_entry_says_what_its_models_are() -> None:
    for name in MODEL_KINDS.names():
        kind = MODEL_KINDS.get(name)
        assert kind.name == name and kind_of(name) is kind
        assert kind.is_decoder == (name in (*DECODERS, *MORE_DECODERS))
        assert kind.longest_input({"max_position_embeddings": 100}) == LONGEST_OF_100.get(name)


def test_an_entry_that_lacks_a_part_is_refused_when_it_is_registered() -> None:
    class Half(EncoderKind):
        name = "half"
        blocks = "layers"

    with pytest.raises(GeloraError, match="lacks linears"):
        MODEL_KINDS.register(Half)

    class Bare(ModelKind):
        name = "bare"
        blocks = "layers"
        linears: ClassVar[Mapping[str, str]] = {"query": "q"}

    with pytest.raises(GeloraError, match="lacks longest_input, prepare_tokenizer, is_decoder"):
        MODEL_KINDS.register(Bare)  # type: ignore[type-abstract]
    assert "half" not in MODEL_KINDS and "bare" not in MODEL_KINDS


@pytest.mark.parametrize(
    ("block_list", "roles", "named"),
    [
        ("", {"query": "q"}, "names no list of blocks"),
        ("layers", {"querry": "q"}, "accepted roles are query, key, value"),
        ("layers", {"up": "fc1", "down": "fc2"}, "no linear layer of the attention"),
        ("layers", {}, "no linear layer of the attention"),
    ],
)
def test_an_entry_that_maps_nothing_is_refused_when_it_is_registered(
    block_list: str, roles: dict[str, str], named: str
) -> None:
    class Odd(EncoderKind):
        name = "odd"
        blocks = block_list
        linears = roles

    with pytest.raises(GeloraError, match=named):
        MODEL_KINDS.register(Odd)
    assert "odd" not in MODEL_KINDS


def modern_bert() -> ModernBertForSequenceClassification:
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    return ModernBertForSequenceClassification(ModernBertConfig(**sizes, vocab_size=50, pad_token_id=0))


def test_a_fused_projection_is_a_role_of_its_own() -> None:
    model_map = map_model(modern_bert(), head_modules=("head", "classifier"))
    block = model_map.blocks[0]
    assert [(linear.role, linear.in_features, linear.out_features) for linear in block.linears] == [
        ("qkv", 32, 96),
        ("output", 32, 32),
        ("gate_up", 32, 128),
        ("down", 64, 32),
    ]
    assert [linear.role for linear in model_map.linears(block, "attention")] == ["qkv", "output"]


def test_a_fused_projection_gets_one_rank_and_one_update() -> None:
    model = modern_bert()
    model_map = map_model(model, head_modules=("head", "classifier"))
    plan = plan_ranks(profile_of(model_map), parse_budget("rank:3"), modules="all")
    adapted: Any = get_peft_model(model, lora_config(plan))
    for block in model_map.blocks:
        for linear in block.linears:
            layer = adapted.base_model.model.get_submodule(linear.name)
            rank = plan.rank_pattern[linear.name]
            assert layer.lora_A["default"].weight.shape == (rank, linear.in_features)
            assert layer.lora_B["default"].weight.shape == (linear.out_features, rank)
    lora_params = sum(p.numel() for name, p in adapted.named_parameters() if ".lora_" in name)
    assert lora_params == plan.adapter_params
