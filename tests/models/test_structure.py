"""What plans say of fused projections and blocks of different size, and which models are refused for their blocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import get_peft_model
from torch import nn
from transformers import AutoModel, PretrainedConfig

from gelora_cli.allocation.formatting import format_plan
from gelora_cli.allocation.planning import plan_method
from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.api import lora_config
from gelora_cli.core.budget import parse_budget, unit_costs
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.block_map import map_model
from gelora_cli.models.load import load_model
from gelora_cli.models.structure import find_difference, weight_tensors
from gelora_cli.plots.run_ranks import ranks_figure
from tests.helpers.method_cases import loaded_and_plan, profile_of
from tests.helpers.models import LABELS, from_directory, refusal
from tests.helpers.rank_profiles import make_map, make_profile
from tests.helpers.tiny import ALL_KINDS, make_tiny

FUSED_KINDS = [name for name in ALL_KINDS if {"qkv", "gate_up"} & MODEL_KINDS.get(name).linears.keys()]

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 99,
    "pad_token_id": 0,
}
EXPERTS: dict[str, Any] = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2}
HYBRID: dict[str, Any] = {"attn_layer_period": 2, "attn_layer_offset": 1}


def unmapped(config_class: str, **changes: Any) -> nn.Module:
    """Return a model without weights of a configuration of transformers."""
    config: PretrainedConfig = getattr(transformers, config_class)(**(SIZES | changes))
    with torch.device("meta"):
        model: nn.Module = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    return model


@pytest.mark.parametrize("kind", FUSED_KINDS)
def test_rank_n_on_a_fused_projection_costs_what_peft_counts(kind: str, tmp_path: Path) -> None:
    directory = make_tiny(kind, tmp_path, layers=2)
    loaded, _ = loaded_and_plan(directory)
    signals = {"idim": profile_of(loaded.map)}
    plan = plan_method(loaded.map, signals, parse_budget("rank:4"), method="lora", modules="all")
    assert plan.ranks == (4, 4)
    adapted: Any = get_peft_model(loaded.model, lora_config(plan))
    counted = sum(tensor.numel() for name, tensor in adapted.named_parameters() if "lora_" in name)
    assert counted == plan.adapter_params == 4 * sum(unit_costs(loaded.map, "all"))
    text = format_plan(plan)
    for linear in loaded.map.blocks[0].linears:
        if linear.role in ("qkv", "gate_up"):
            layer = adapted.get_submodule(f"base_model.model.{linear.name}")
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            assert f"{a.shape[1]:,} + {b.shape[0]:,} = {(a.numel() + b.numel()) // 4:,} parameters" in text
    assert "one A" in text
    written = [text.get_text() for text in ranks_figure(plan).axes[0].texts]
    assert any("in one matrix" in text for text in written)


def test_a_plan_without_fused_projections_says_nothing_of_them() -> None:
    plan = plan_ranks(make_profile((5.0, 6.0, 4.0)), parse_budget("rank:4"))
    assert plan.structure == () and plan.fused_roles == ()


def test_blocks_of_different_size_pay_what_they_cost() -> None:
    profile = make_profile((5.0, 6.0, 4.0, 8.0), [(64, 64), (64, 32), (64, 64)])
    for method in ("gelora", "lora", "shuffled", "random", "reversed", "depth"):
        plan = plan_method(profile.model_map, {"idim": profile}, parse_budget("rank:4"), method=method)
        costs = [512, 384, 512]
        assert plan.adapter_params == sum(rank * cost for rank, cost in zip(plan.ranks, costs, strict=True))
        assert plan.budget_params == 4 * sum(costs) >= plan.adapter_params
        assert "in parameters: 512 in block 1, 384 in block 2, 512 in block 3" in format_plan(plan)
    assert plan_method(profile.model_map, {"idim": profile}, parse_budget("rank:4"), method="lora").ranks == (4, 4, 4)


def test_a_triplet_costs_one_number_more() -> None:
    shapes = make_map([(64, 64), (64, 32)])
    plan = plan_method(shapes, {}, parse_budget("3000"), method="adalora")
    assert "the cost of a triplet in parameters: 516 in block 1, 388 in block 2." in format_plan(plan)


@pytest.mark.parametrize(
    ("config", "changes", "named"),
    [
        ("Qwen3_5TextConfig", {}, ("block 1 has linear_attn (Qwen3_5GatedDeltaNet)", "block 4 has self_attn")),
        ("Lfm2Config", {"layer_types": ["conv", "full_attention", "conv", "conv"]}, ("block 1 has conv", "self_attn")),
        ("JambaConfig", HYBRID, ("JambaMambaDecoderLayer", "JambaAttentionDecoderLayer")),
        ("MixtralConfig", EXPERTS, ("mlp.experts.gate_up_proj (4, 128, 32)", "mixtures of experts")),
        ("GptOssConfig", EXPERTS | {"head_dim": 8}, ("mlp.experts.gate_up_proj (4, 32, 128)", "no linear layers")),
    ],
)
def test_models_of_unlike_blocks_are_refused_with_what_differs(
    config: str, changes: dict[str, Any], named: tuple[str, ...]
) -> None:
    model: Any = unmapped(config, **changes)
    message = refusal(map_model, model, head_modules=())
    assert all(part in message for part in named) and len(message) < 450
    by_hand = {"query": "self_attn.q_proj", "output": "self_attn.o_proj"}
    hand_named = refusal(map_model, model, blocks="layers", linears=by_hand, head_modules=())
    assert "differ from one another" in hand_named or "no linear layers" in hand_named


def test_a_model_without_declaration_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    directory = make_tiny("qwen2", tmp_path)
    config: Any = transformers.Qwen3_5TextConfig(**(SIZES | {"vocab_size": 500}))
    config.save_pretrained(directory)
    (directory / "model.safetensors").write_bytes(b"no weights" * 20_000)
    assert "block 1 has linear_attn" in refusal(load_model, from_directory(directory), LABELS, seed=0)


def test_blocks_of_other_sizes_are_no_difference() -> None:
    blocks: Any = [nn.Sequential(nn.Linear(4, width), nn.Linear(width, 4)) for width in (8, 6)]
    assert find_difference(blocks) == ""
    assert "block 1 has 1 (Linear), block 2 has nothing" in find_difference([blocks[0], nn.Sequential(nn.Linear(4, 4))])
    assert weight_tensors(nn.Conv1d(4, 4, 3)) == []


def test_a_pruned_model_is_mapped_with_the_sizes_that_it_has(tmp_path: Path) -> None:
    loaded, _ = loaded_and_plan(make_tiny("bert", tmp_path))
    model: Any = loaded.model
    pruned = model.bert.encoder.layer[1]
    pruned.intermediate.dense, pruned.output.dense = nn.Linear(32, 40), nn.Linear(40, 32)
    model_map = map_model(model, head_modules=loaded.map.head_modules)
    costs = unit_costs(model_map, "all")
    assert costs[0] - costs[1] == 2 * (64 - 40)
    profile = replace(profile_of(model_map), model_map=model_map)
    plan = plan_ranks(profile, parse_budget("rank:3"), modules="all", on_deficit="shrink")
    assert any("The blocks differ in size" in text for text in plan.structure)


def test_a_missing_linear_is_named_as_before_where_blocks_are_alike(tmp_path: Path) -> None:
    loaded, _ = loaded_and_plan(make_tiny("bert", tmp_path))
    with pytest.raises(GeloraError, match=r"is missing in block bert\.encoder\.layer\.0"):
        map_model(loaded.model, linears={"query": "attention.self.q"}, head_modules=())
