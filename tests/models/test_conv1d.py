"""GPT-2's `Conv1D` layers: linears while we work, `Conv1D` in files and in the hands of the user."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.pytorch_utils import Conv1D

from gelora_cli.api import lora_config, plan_ranks, profile_texts
from gelora_cli.methods import load_adapter
from gelora_cli.models.block_map import map_model
from gelora_cli.models.conv1d import Conv1DLinear, convert_conv1d
from tests.helpers.method_cases import HEAD, inputs_of
from tests.helpers.rivals import case
from tests.helpers.tiny import SENTENCES, make_tiny
from tests.helpers.variant_matrix import check_variant, fresh, logits, train


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("gpt2", tmp_path_factory.mktemp("gpt2"))


def plain_model(directory: Path) -> Any:
    """Load a model as somebody without gelora does."""
    loaded = fresh(directory)
    model: Any = AutoModelForSequenceClassification.from_pretrained(directory, **loaded.arguments)
    with torch.no_grad():  # the head is new, and drawn otherwise
        model.score.weight.copy_(loaded.model.get_parameter("score.weight"))
    return model.eval()


def kinds_of_layers(model: Any) -> list[type]:
    return [type(module) for module in model.modules() if isinstance(module, Conv1D | Conv1DLinear)]


def test_a_converted_model_computes_and_saves_what_it_did(gpt2: Path, tmp_path: Path) -> None:
    model, converted = plain_model(gpt2), fresh(gpt2).model
    inputs = inputs_of(gpt2, "gpt2")
    assert set(kinds_of_layers(converted)) == {Conv1DLinear}
    assert torch.allclose(logits(converted, inputs), logits(model, inputs), atol=1e-6)
    assert converted.get_parameter("transformer.h.0.attn.c_attn.weight").shape == (96, 32)
    before = model.state_dict()
    assert all(torch.equal(before[name], tensor) for name, tensor in converted.state_dict().items())
    convert_conv1d(model)  # loads and saves the layout of Conv1D afterwards, too
    model.load_state_dict(before)
    converted.save_pretrained(tmp_path)
    reloaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(logits(model, inputs), logits(converted, inputs))
    assert all(torch.equal(before[name], tensor) for name, tensor in reloaded.state_dict().items())


def test_a_plain_model_has_the_same_map(gpt2: Path) -> None:
    loaded = fresh(gpt2)
    assert map_model(plain_model(gpt2), head_modules=["score"]) == loaded.map
    shapes = {linear.role: (linear.in_features, linear.out_features) for linear in loaded.map.blocks[0].linears}
    assert shapes == {"qkv": (32, 96), "output": (32, 32), "up": (32, 64), "down": (64, 32)}


@pytest.mark.parametrize("variant", ["lora", "dora", "pissa"])
def test_plain_peft_puts_the_adapter_on_a_plain_model(gpt2: Path, tmp_path: Path, variant: str) -> None:
    check_variant(gpt2, "gpt2", variant, tmp_path)
    inputs = inputs_of(gpt2, "gpt2")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning)  # PEFT's, on the layout of the weights
        theirs = PeftModel.from_pretrained(plain_model(gpt2), tmp_path)
        ours = load_adapter(fresh(gpt2).model, tmp_path)
    assert torch.allclose(logits(theirs, inputs), logits(ours, inputs), atol=1e-5)


@pytest.mark.parametrize("method", ["adalora", "sora", "bitfit", "full", "houlsby"])
def test_an_adapter_of_another_method_fits_a_plain_model(gpt2: Path, tmp_path: Path, method: str) -> None:
    found = case(gpt2, method, kind="gpt2")
    attached = found.attach()
    train(attached, found.inputs)
    attached.save(tmp_path)
    again = load_adapter(plain_model(gpt2), tmp_path)
    assert torch.allclose(logits(again, found.inputs), logits(attached.model, found.inputs), atol=1e-5)


def test_a_model_of_the_users_is_profiled_as_it_is(gpt2: Path) -> None:
    model: Any = AutoModelForSequenceClassification.from_pretrained(gpt2, num_labels=len(HEAD.label_names))
    before = kinds_of_layers(model)
    texts = [f"{first} {second}" for first in SENTENCES for second in SENTENCES]
    profile = profile_texts(model, AutoTokenizer.from_pretrained(gpt2), texts, pooling="last")
    plan = plan_ranks(profile, "rank:3", modules="all")
    assert kinds_of_layers(model) == before and set(before) == {Conv1D}
    adapted: Any = get_peft_model(model, lora_config(plan, fan_in_fan_out=True))
    for name, rank in plan.rank_pattern.items():
        assert adapted.base_model.model.get_submodule(name).lora_A["default"].weight.shape[0] == rank
