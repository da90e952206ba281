"""Blocks and linears that are found in the model itself, of declared kinds and of others; no weights are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from transformers import AutoModel, PreTrainedModel

from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.automatic_map import find_map
from gelora_cli.models.kinds import base
from gelora_cli.models.linear_roles import NotFoundError, find_roles, linear_shapes
from tests.helpers.models import refusal
from tests.helpers.tiny import ALL_KINDS, make_tokenizer, tiny_config
from tests.helpers.tiny_undeclared import NO_RANK_EACH, NOT_TOLD, UNDECLARED, UNDECLARED_DECODERS


@pytest.fixture
def undeclared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every declaration away."""
    monkeypatch.setattr(base, "MODEL_KINDS", {})


def empty(config: Any) -> PreTrainedModel:
    """Build a model without weights."""
    config.architectures = config.architectures or [""]  # as config.json has it; one class looks into it
    build: Callable[[Any], PreTrainedModel] = getattr(AutoModel, "from_config")  # noqa: B009 - it has no types
    with torch.device("meta"):
        return build(config)


@pytest.mark.usefixtures("undeclared")
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_declared_kind_is_found_without_its_declaration(kind: str) -> None:
    declared = MODEL_KINDS.get(kind)
    config = tiny_config(kind, make_tokenizer(kind))
    if hasattr(config, "num_hidden_groups"):
        config.num_hidden_groups = config.num_hidden_layers  # each block runs once
    found = find_map(empty(config))
    assert (found.kind, found.blocks, found.names) == (kind, declared.blocks, dict(declared.linears))
    assert found.count == 3
    assert found.is_causal == declared.is_decoder


@pytest.mark.parametrize("kind", UNDECLARED)
def test_five_kinds_that_are_declared_nowhere(kind: str) -> None:
    assert kind not in MODEL_KINDS
    found = find_map(empty(tiny_config(kind, make_tokenizer(kind))))
    assert found.count == 3 and not found.unassigned
    assert found.is_causal == (kind in UNDECLARED_DECODERS)
    assert {"output", "up", "down"} < found.names.keys()
    assert ("qkv" in found.names) == (kind in ("gpt_neox", "bloom"))


@pytest.mark.parametrize("kind", NOT_TOLD)
def test_what_can_not_be_told_is_refused_with_its_reason(kind: str) -> None:
    config_class, values, reason = NOT_TOLD[kind]
    message = refusal(find_map, empty(getattr(transformers, config_class)(**values)))
    assert f"{kind!r} is declared nowhere" in message
    assert reason in message
    assert "name it by hand, as in model.blocks=" in message


@pytest.mark.parametrize("kind", NO_RANK_EACH)
def test_blocks_that_can_not_get_a_rank_each_are_refused(kind: str) -> None:
    config_class, values, reason = NO_RANK_EACH[kind]
    message = refusal(find_map, empty(getattr(transformers, config_class)(**values)))
    assert reason in message and "by hand" not in message


def test_blocks_that_run_several_times_are_refused() -> None:
    config = transformers.AlbertConfig(num_hidden_layers=4, num_hidden_groups=2, hidden_size=64, embedding_size=8)
    assert "encoder.albert_layer_groups has 2 blocks, and config.json names 4 layers" in refusal(
        find_map, empty(config)
    )


def test_the_table_shows_roles_shapes_and_what_stays_out() -> None:
    config = transformers.LongformerConfig(num_hidden_layers=2, hidden_size=24, num_attention_heads=2)
    lines = find_map(empty(config)).table().splitlines()
    assert " ".join(lines[0].split()) == "blocks encoder.layer 2 of LongformerLayer the longest list of like modules"
    assert "    output  attention.output.dense       24 -> 24" in "\n".join(lines)
    assert "    -       attention.self.query_global  24 -> 24" in "\n".join(lines)
    assert lines[-1] == "    read as an encoder: tokens see each other"


def test_what_is_named_by_hand_is_kept_and_checked() -> None:
    model = empty(tiny_config("ernie", make_tokenizer("ernie")))
    found = find_map(model, blocks="ernie.encoder.layer", linears={"value": "attention.self.value"})
    assert (found.blocks, found.names) == ("encoder.layer", {"value": "attention.self.value"})
    assert found.unassigned[0][0] == "attention.self.query"
    assert found.table().count("named by hand") == 2
    assert "model.blocks=encoder is none of its lists" in refusal(find_map, model, blocks="encoder")
    assert "model.linears.query=attention.q names no role or no linear" in refusal(
        find_map, model, linears={"query": "attention.q"}
    )


def block(**shapes: tuple[int, int]) -> nn.Module:
    """Make a block of linear layers; `__` stands for the dot in a name."""
    root = nn.Module()
    for name, (read, given) in shapes.items():
        *path, last = name.split("__")
        parent = root
        for part in path:
            if not hasattr(parent, part):
                parent.add_module(part, nn.Module())
            parent = getattr(parent, part)
        parent.add_module(last, nn.Linear(read, given, device="meta"))
    return root


GROUPED = {"attn__q_proj": (32, 64), "attn__k_proj": (32, 16), "attn__v_proj": (32, 16), "attn__o_proj": (64, 32)}
FUSED = {"attn__qkv_proj": (32, 64), "attn__o_proj": (32, 32)}
DENSE = {"mlp__up_proj": (32, 96), "mlp__down_proj": (96, 32)}


def roles(**shapes: tuple[int, int]) -> dict[str, str]:
    """Return role -> name of the linears of a block."""
    made = block(**shapes)
    return {linear.role: linear.name for linear in find_roles(made, [linear_shapes(made)])}


def test_heads_may_be_wider_than_the_model_and_keys_fewer_than_queries() -> None:
    assert roles(**GROUPED, **DENSE)["output"] == "attn.o_proj"
    assert roles(**FUSED, **DENSE).keys() == {"qkv", "output", "up", "down"}
    assert roles(**FUSED, mlp__Wi=(32, 192), mlp__Wo=(96, 32)).keys() == {"qkv", "output", "gate_up", "down"}
    assert roles(**FUSED).keys() == {"qkv", "output"}
    assert roles(**GROUPED, fc1=(32, 96), fc2=(96, 32))["down"] == "fc2"


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        (GROUPED | {"attn__o_proj": (32, 32)} | DENSE, "attn.o_proj reads 32, and query gives 64"),
        (GROUPED | {"attn__o_proj": (64, 48)} | DENSE, "attn.o_proj gives 48, and query reads 32"),
        (GROUPED | {"attn__v_proj": (32, 8)} | DENSE, "attn.v_proj is 32 -> 8, and key is 32 -> 16"),
        (GROUPED | {"attn__k_proj": (32, 24), "attn__v_proj": (32, 24)}, "attn.k_proj is 32 -> 24, which does not fit"),
        (GROUPED | DENSE | {"mlp__up_proj": (32, 48)}, "mlp.up_proj is 32 -> 48, and mlp.down_proj is 96 -> 32"),
        (GROUPED | DENSE | {"mlp__down_proj": (96, 64)}, "mlp.down_proj gives 64, not the 32 that the attention reads"),
        (FUSED | {"attn__qkv_proj": (32, 90)}, "attn.qkv_proj gives 90, which is not queries of 32"),
        (GROUPED | DENSE | {"cross__q_proj": (32, 64)}, "several layers are named as query: attn.q_proj, cross.q_proj"),
        (GROUPED | {"mlp__up_proj": (32, 96)}, "of the feed-forward only up is named"),
        (FUSED | {"attn__q_proj": (32, 32)}, "of the attention only qkv, query is named"),
        (GROUPED | {"q__q_proj": (32, 64)}, "several layers are named as query"),
        ({"a__q_proj": (8, 8), "b__k_proj": (8, 8), "b__v_proj": (8, 8)}, "in different places (a., b.)"),
        (
            {"attn__q_proj": (8, 8), "attn__k_proj": (8, 8), "attn__v_proj": (8, 8), "attn__mix": (8, 8), "fc": (8, 8)},
            "attn.mix has the shape of the attention's output, and its name does not say so",
        ),
        (DENSE, "no linear layer is named as query, key and value"),
    ],
)
def test_names_and_shapes_that_disagree_are_refused(shapes: dict[str, tuple[int, int]], reason: str) -> None:
    with pytest.raises(NotFoundError) as refused:
        roles(**shapes)
    assert reason in str(refused.value)
