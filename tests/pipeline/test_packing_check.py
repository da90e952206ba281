"""Packing is refused for a model that would not keep packed rows apart, and for tasks whose rows can't be packed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from gelora_cli.config.checks import value_problems
from gelora_cli.config.identity import identity_values
from gelora_cli.core.distributed import make_accelerator
from gelora_cli.core.errors import GeloraError
from gelora_cli.methods.base import AdaptedModel
from gelora_cli.pipeline.packing_check import check_packing, packing_difference
from tests.helpers.completion_rows import adapted_decoder, completion_rows
from tests.helpers.composed import composed
from tests.helpers.tiny import make_tiny


def session(*, packing: bool = True) -> Any:
    """Return what the check reads of a session."""
    return SimpleNamespace(
        config=SimpleNamespace(train=SimpleNamespace(packing=packing)),
        inputs=SimpleNamespace(precision="float32", model_name="tiny"),
        accelerator=make_accelerator("float32"),
        pad_token_id=0,
    )


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> AdaptedModel:
    return adapted_decoder(make_tiny("llama", tmp_path_factory.mktemp("llama")))


def test_a_decoder_keeps_rows_apart_and_is_accepted(llama: AdaptedModel) -> None:
    check_packing(session(), llama, completion_rows())
    assert 0 <= packing_difference(session(), llama, completion_rows(), np.array([0, 1])) < 1e-5


@pytest.mark.parametrize("broken", ["no positions", "a cache", "no number"])
def test_a_model_that_mixes_rows_is_refused(llama: AdaptedModel, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    model: Any = llama.model
    plain = model.forward

    def forward(**inputs: Any) -> Any:
        if broken == "no positions":  # as a recurrent layer, which has none
            inputs.pop("position_ids")
        output = plain(**inputs, use_cache=broken == "a cache")
        return SimpleNamespace(logits=output.logits * float("nan")) if broken == "no number" else output

    monkeypatch.setattr(model, "forward", forward)
    with pytest.raises(GeloraError, match=r"tiny does not keep packed examples apart.* Leave train.packing out"):
        check_packing(session(), llama, completion_rows())
    check_packing(session(packing=False), llama, completion_rows())  # not asked


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "settings", "accepted"),
    [
        ("GPTNeoX", {"intermediate_size": 64, "num_attention_heads": 4}, True),
        ("Mamba", {"state_size": 8}, False),  # recurrent
        ("OPT", {"ffn_dim": 64, "num_attention_heads": 4, "word_embed_proj_dim": 32}, False),  # positions by its mask
        ("Bloom", {"n_head": 4}, False),  # positions by distance, through a mask
    ],
)
def test_undeclared_kinds_are_judged_by_what_they_do(kind: str, settings: dict[str, Any], accepted: bool) -> None:
    shared = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "use_cache": False}
    factory: Any = transformers.AutoModelForCausalLM
    model = factory.from_config(getattr(transformers, f"{kind}Config")(**shared, **settings))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)  # so that attention is not even
    adapted: Any = SimpleNamespace(model=model)
    difference = packing_difference(session(), adapted, completion_rows(), np.array([2, 9]))
    assert difference < 1e-5 if accepted else difference > 0.1


def test_packing_is_for_generation_alone(tmp_path: Path) -> None:
    words = ["task=cola", "model=minilm", "method=lora", "budget=rank:2", f"runs_dir={tmp_path}"]
    plain, packed = composed(*words), composed(*words, "train.packing=true")
    assert value_problems(plain) == []
    (problem,) = value_problems(packed)
    assert problem.startswith("train.packing=true: task.kind=classification reads one output of each text")
    assert "accepted for task.kind=generation" in problem
    assert "packing" not in identity_values(plain)["train"] and identity_values(packed)["train"]["packing"] is True
