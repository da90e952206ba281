"""LoRA on every model kind: what was attached, what trains, what moves, what comes back from disk."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.config.schema import LowRankConfig
from gelora_cli.core.artifacts.profile import LayerIdim
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.run_files import PEFT_WEIGHTS
from gelora_cli.methods import load_adapter
from gelora_cli.methods.base import MethodContext
from gelora_cli.methods.updates.checks import ADAPTER, head_state
from gelora_cli.methods.updates.lora import attach_lora, check_lora, load_peft
from gelora_cli.models.load import load_model
from gelora_cli.models.locate import resolve_model
from tests.helpers.method_cases import HEAD, inputs_of, loaded_and_plan, plain, profile_of
from tests.helpers.tiny import KINDS, SENTENCES


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
    attached = attach_lora(MethodContext(loaded.model, loaded.map, plan, LowRankConfig(), 0))
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
    """Take two steps: A has no gradient before B has moved."""
    optimizer = torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.0)
    labels = torch.arange(len(SENTENCES)) % 2
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(model(**inputs).logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()


def test_what_peft_did_is_compared_with_the_plan(tiny_models: dict[str, Path]) -> None:
    loaded, plan = loaded_and_plan(tiny_models["bert"])
    attached = attach_lora(MethodContext(loaded.model, loaded.map, plan, LowRankConfig(), 0))
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
        attached = attach_lora(MethodContext(loaded.model, loaded.map, plan, LowRankConfig(), seed))
        assert torch.equal(torch.get_rng_state(), state)
        drawn.append(next(tensor for name, tensor in attached.trainable().items() if "lora_A" in name).detach())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_more_than_ten_blocks_keep_their_own_ranks(tmp_path: Path) -> None:
    from tests.helpers.tiny import make_tiny

    loaded = load_model(resolve_model(hub=None, path=str(make_tiny("bert", tmp_path, layers=12))), HEAD, seed=0)
    idims = [3.0 + (i * i) % 7 for i in range(13)]
    layers = tuple(LayerIdim(i, d, d, d, d, d, 100, 0, 100, False) for i, d in enumerate(idims))
    plan = plan_ranks(replace(profile_of(loaded.map), layers=layers), parse_budget("auto"))
    assert len(set(plan.ranks)) > 2
    attached = attach_lora(MethodContext(loaded.model, loaded.map, plan, LowRankConfig(), 0))
    assert attached.ranks() == (plan.rank_pattern, plan.adapter_params)


# Saved adapters that can't be loaded


@pytest.fixture(scope="module")
def saved_adapter(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    loaded, plan = loaded_and_plan(tiny_models["bert"])
    directory = tmp_path_factory.mktemp("saved") / "adapter"
    attach_lora(MethodContext(loaded.model, loaded.map, plan, LowRankConfig(), 0)).save(directory)
    return directory


def damaged_adapters() -> dict[str, tuple[Callable[[Path], object], str]]:
    """Return ways to damage an adapter, each with what the message then names."""

    def as_pickle(adapter: Path) -> None:
        torch.save(load_file(adapter / PEFT_WEIGHTS), adapter / "adapter_model.bin")
        (adapter / PEFT_WEIGHTS).unlink()

    def as_directory(adapter: Path) -> None:
        as_pickle(adapter)
        (adapter / PEFT_WEIGHTS).mkdir()

    def rewritten(**values: Any) -> Callable[[Path], object]:
        def change(adapter: Path) -> None:
            path = adapter / "adapter_config.json"
            path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")

        return change

    def config_text(text: str) -> Callable[[Path], object]:
        return lambda adapter: (adapter / "adapter_config.json").write_text(text, encoding="utf-8")

    return {
        "a pickle in its place": (as_pickle, "only adapter_model.bin: pickled weights"),
        "a directory in its place": (as_directory, "only adapter_model.bin"),
        "no weights": (lambda adapter: (adapter / PEFT_WEIGHTS).unlink(), f"has no file {PEFT_WEIGHTS}"),
        "cut weights": (lambda adapter: (adapter / PEFT_WEIGHTS).write_bytes(b"12345678"), "can't be loaded by PEFT"),
        "another kind": (rewritten(peft_type="XLORA", adapters={"0": "elsewhere"}), "peft_type=XLORA"),
        "an unknown kind": (rewritten(peft_type="NEW"), "adapter_config.json can't be read"),
        "a module to import": (rewritten(megatron_config={"a": 1}, megatron_core="antigravity"), "can't be read"),
        "another rank": (rewritten(rank_pattern={}, r=3), "can't be loaded by PEFT"),
        "a list": (config_text("[]"), "adapter_config.json can't be read"),
        "deep": (config_text("[" * 100_000), "adapter_config.json can't be read"),
        "nothing": (config_text(""), "adapter_config.json can't be read"),
    }


@pytest.mark.parametrize("name", damaged_adapters())
def test_a_damaged_adapter_is_one_message_and_no_pickle_is_read(
    saved_adapter: Path, tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    change, named = damaged_adapters()[name]
    adapter = shutil.copytree(saved_adapter, tmp_path / "adapter")
    change(adapter)
    unpickled: list[Any] = []
    monkeypatch.setattr(torch, "load", lambda *arguments, **_: unpickled.append(arguments))
    with pytest.raises(GeloraError, match=re.escape(named)) as refused:
        load_adapter(loaded_and_plan(tiny_models["bert"])[0].model, adapter)
    assert unpickled == []
    assert len(str(refused.value)) < 700


def test_our_own_format_reads_no_pickle_either(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    own = '{"method": "bitfit", "sizes": {}, "scaling": 1.0, "base": "bert", "tensors": 3}'
    (tmp_path / "gelora_adapter.json").write_text(own, encoding="utf-8")
    (tmp_path / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(GeloraError, match="pickled weights are never loaded"):
        load_adapter(loaded_and_plan(tiny_models["bert"])[0].model, tmp_path)
