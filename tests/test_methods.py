"""LoRA on every model kind: what was attached, what trains, what moves, what comes back from disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gelora_cli.artifacts import GeloraError, IdProfile, LayerIdim, ModelMap, ProfileSettings, RankPlan
from gelora_cli.budget import parse_budget
from gelora_cli.config import MethodConfig
from gelora_cli.methods import AttachRequest, attach_lora
from gelora_cli.methods.base import base_name, head_state
from gelora_cli.methods.lora import ADAPTER, check_lora, load_peft
from gelora_cli.models import HeadSpec, LoadedModel, load_model, load_tokenizer, resolve_model
from gelora_cli.ranks import plan_ranks
from tests.tiny import KINDS, SENTENCES

HEAD = HeadSpec("classification", ("no", "yes"))


def profile_of(model_map: ModelMap) -> IdProfile:
    """A made-up profile whose ranks differ from block to block."""
    idims = [3.0, 5.2, 5.1, 6.9, 6.0][: len(model_map.blocks) + 1]
    layers = tuple(LayerIdim(i, d, d - 0.2, d + 0.2, d, d, 100, 0, 100, False) for i, d in enumerate(idims))
    settings = ProfileSettings("mean", "fit", 0.1, 100, 64, 0)
    return IdProfile("tiny", "f", "cola", "f", settings, 100, 100, 0, 100, layers, model_map, 0.1)


def loaded_and_plan(
    directory: Path, modules: str = "attention", budget: str = "auto", dropout: float | None = None
) -> tuple[LoadedModel, RankPlan]:
    loaded = load_model(resolve_model(hub=None, path=str(directory)), HEAD, seed=0, dropout=dropout)
    return loaded, plan_ranks(profile_of(loaded.map), parse_budget(budget), modules=modules)


def inputs_of(directory: Path, kind: str) -> dict[str, torch.Tensor]:
    tokenizer = load_tokenizer(resolve_model(hub=None, path=str(directory)), kind)
    return dict(tokenizer(list(SENTENCES), padding=True, return_tensors="pt"))


@pytest.mark.parametrize("modules", ["attention", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_moves_what_should_move_and_it_comes_back(
    tiny_models: dict[str, Path], tmp_path: Path, kind: str, modules: str
) -> None:
    loaded, plan = loaded_and_plan(tiny_models[kind], modules)
    assert len(set(plan.ranks)) > 1
    inputs = inputs_of(tiny_models[kind], kind)
    with torch.no_grad():
        base = loaded.model(**inputs).logits
    frozen = {name: tensor.clone() for name, tensor in loaded.model.named_parameters()}
    attached = attach_lora(AttachRequest(loaded.model, loaded.map, plan, MethodConfig(), 0))
    with torch.no_grad():
        assert torch.equal(attached.model(**inputs).logits, base)
    trainable = attached.trainable()
    assert sum(tensor.numel() for tensor in trainable.values()) == plan.adapter_params + loaded.map.head_params
    before = {name: tensor.detach().clone() for name, tensor in trainable.items()}
    take_steps(attached.model, inputs, list(trainable.values()))
    assert all(not torch.equal(before[name], tensor) for name, tensor in trainable.items())
    kept = {name: tensor for name, tensor in attached.model.named_parameters() if not tensor.requires_grad}
    assert all(torch.equal(tensor, frozen[plain(name)]) for name, tensor in kept.items())
    attached.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    again = load_peft(loaded_and_plan(tiny_models[kind], modules)[0].model, tmp_path)
    check_lora(again, plan, loaded.map, trainable=False)
    with torch.no_grad():
        trained = attached.model.eval()(**inputs).logits
        assert torch.equal(again(**inputs).logits, trained)
        fresh = loaded_and_plan(tiny_models[kind], modules)[0].model
        fresh.load_state_dict(head_state(attached.model, loaded.map.head_modules), strict=False)
        assert not torch.allclose(fresh(**inputs).logits, trained)


def take_steps(model: Any, inputs: dict[str, torch.Tensor], parameters: list[torch.nn.Parameter]) -> None:
    """Two steps: A has no gradient before B has moved."""
    optimizer = torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.0)
    labels = torch.arange(len(SENTENCES)) % 2
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(model(**inputs).logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()


def plain(name: str) -> str:
    """A parameter's name in the model without a method."""
    return base_name(name).replace(".base_layer", "").replace(".original_module", "").replace(".base.", ".")


def test_what_peft_did_is_compared_with_the_plan(tiny_models: dict[str, Path]) -> None:
    loaded, plan = loaded_and_plan(tiny_models["bert"])
    attached = attach_lora(AttachRequest(loaded.model, loaded.map, plan, MethodConfig(), 0))
    model: Any = attached.model
    row = plan.blocks[0]
    wrong = replace(plan, blocks=(replace(row, rank=row.rank + 1), *plan.blocks[1:]))
    with pytest.raises(GeloraError, match=f"rank {row.rank} instead of {row.rank + 1}"):
        check_lora(model, wrong, loaded.map)
    fewer = replace(plan, blocks=(replace(row, modules=row.modules[1:]), *plan.blocks[1:]))
    with pytest.raises(GeloraError, match="adapted, but not in the plan"):
        check_lora(model, fewer, loaded.map)
    with pytest.raises(GeloraError, match=r"scaling 32.0 instead of 16"):
        check_lora(model, replace(plan, scaling=16.0), loaded.map)
    with pytest.raises(GeloraError, match="head parameters"):
        check_lora(model, plan, replace(loaded.map, head_params=1))
    layer = model.base_model.model.get_submodule(row.modules[0])
    layer.lora_A[ADAPTER].weight.requires_grad_(False)
    with pytest.raises(GeloraError, match="adapter parameters"):
        check_lora(model, plan, loaded.map)


def test_new_parameters_come_from_the_seed_and_leave_no_trace(tiny_models: dict[str, Path]) -> None:
    drawn: list[torch.Tensor] = []
    for seed in (0, 0, 1):
        loaded, plan = loaded_and_plan(tiny_models["bert"])
        torch.manual_seed(len(drawn))
        state = torch.get_rng_state()
        attached = attach_lora(AttachRequest(loaded.model, loaded.map, plan, MethodConfig(), seed))
        assert torch.equal(torch.get_rng_state(), state)
        drawn.append(next(tensor for name, tensor in attached.trainable().items() if "lora_A" in name).detach())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_more_than_ten_blocks_keep_their_own_ranks(tmp_path: Path) -> None:
    from tests.tiny import make_tiny

    loaded = load_model(resolve_model(hub=None, path=str(make_tiny("bert", tmp_path, layers=12))), HEAD, seed=0)
    idims = [3.0 + (i * i) % 7 for i in range(13)]
    layers = tuple(LayerIdim(i, d, d, d, d, d, 100, 0, 100, False) for i, d in enumerate(idims))
    plan = plan_ranks(replace(profile_of(loaded.map), layers=layers), parse_budget("auto"))
    assert len(set(plan.ranks)) > 2
    attached = attach_lora(AttachRequest(loaded.model, loaded.map, plan, MethodConfig(), 0))
    assert attached.ranks() == (plan.rank_pattern, plan.adapter_params)
