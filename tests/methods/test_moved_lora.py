"""PiSSA and LoRA-GA: where they start, what they leave alone, what a checkpoint brings back, and what is saved."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from gelora_cli.allocation.peft_pattern import rank_pattern_json
from gelora_cli.core.distributed import Device
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.run_files import PEFT_CONFIG, PEFT_WEIGHTS
from gelora_cli.methods.base import AdaptedModel
from gelora_cli.methods.updates.checks import ADAPTER
from gelora_cli.methods.updates.lora import load_peft
from gelora_cli.methods.updates.lora_ga import GAMMA, GRADIENT_EXAMPLES, gradient_start
from gelora_cli.training.gradients import mean_gradients
from tests.helpers.rivals import Case, case, logits, tune
from tests.helpers.train_settings import SETTINGS

STARTED = ("pissa", "lora_ga")
CPU = Device(torch.device("cpu"))


def started(directory: Path, variant: str, **changes: Any) -> Case:
    """Return GeLoRA with this variant on a tiny model."""
    return case(directory, "gelora", variant=variant, **changes)


def layer_of(adapted: AdaptedModel, name: str) -> Any:
    model: Any = adapted.model
    return model.get_base_model().get_submodule(name)


def test_pissa_is_the_function_of_peft_with_the_base_left_alone(tiny_models: dict[str, Path]) -> None:
    ours = started(tiny_models["bert"], "pissa")
    weights = {name: tensor.clone() for name, tensor in ours.loaded.model.named_parameters()}
    base, plan = logits(ours.loaded.model, ours.inputs), ours.request.plan
    adapted = ours.attach()
    theirs = case(tiny_models["bert"], "gelora").loaded.model
    model: Any = get_peft_model(theirs, LoraConfig(**rank_pattern_json(plan), init_lora_weights="pissa"))
    torch.manual_seed(0)
    for name in plan.rank_pattern:
        layer, reference = layer_of(adapted, name), model.get_base_model().get_submodule(name)
        assert torch.equal(layer.base_layer.weight, weights[f"{name}.weight"])
        torch.testing.assert_close(layer.get_delta_weight(ADAPTER), reference.get_delta_weight(ADAPTER))
        moved = reference.base_layer.weight - weights[f"{name}.weight"]
        torch.testing.assert_close(moved, -layer.get_delta_weight(ADAPTER), atol=1e-6, rtol=0)
        with torch.no_grad():
            for factor in ("lora_A", "lora_B"):
                weight = getattr(layer, factor)[ADAPTER].weight
                weight.add_(0.05 * torch.randn_like(weight))
                getattr(reference, factor)[ADAPTER].weight.copy_(weight)
    trained = logits(adapted.model, ours.inputs)
    torch.testing.assert_close(trained, logits(model, ours.inputs), atol=1e-5, rtol=1e-5)
    assert (trained - base).abs().max() > 0.02


@pytest.mark.parametrize("rank", [1, 4, 7, 10, 12])
def test_lora_ga_starts_from_two_sets_of_singular_vectors(rank: int) -> None:
    # From rank 7 on, two sets of r directions are more than the twelve that there are.
    gradient = torch.randn(20, 12, generator=torch.Generator().manual_seed(1))
    left, _, right = np.linalg.svd(gradient.double().numpy(), full_matrices=False)
    start = gradient_start("query", gradient, rank)
    first = min(rank, 12 - rank)
    scale = 20**0.25 / GAMMA**0.5
    for found, wanted in ((start.A, right[:rank]), (start.B.T, left[:, first : first + rank].T)):
        found_unit = found.double().numpy() / scale
        np.testing.assert_allclose(np.abs(np.sum(found_unit * wanted, axis=1)), 1, atol=1e-5)
        np.testing.assert_allclose(found_unit @ found_unit.T, np.eye(rank), atol=1e-5)
        assert (found.gather(1, found.abs().argmax(1, keepdim=True)) > 0).all()


def test_a_gradient_of_few_directions_is_told(log_lines: list[str]) -> None:
    few = torch.ones(8, 2) @ torch.eye(2, 6)
    start = gradient_start("layer.0.query", few, 2)
    gradient_start("layer.1.query", torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), 2)
    (warning,) = log_lines
    assert "the gradient of layer.0.query has 1 directions, and 4 are taken" in warning
    assert torch.isfinite(start.A).all() and torch.isfinite(start.B).all()


@pytest.mark.parametrize("gradient", [0.0, float("nan")])
def test_a_gradient_without_a_direction_is_refused(tiny_models: dict[str, Path], gradient: float) -> None:
    wrong = started(tiny_models["bert"], "lora_ga")

    def gradients(names: Any, examples: int) -> dict[str, torch.Tensor]:
        return {name: torch.full_like(wrong.loaded.model.get_parameter(f"{name}.weight"), gradient) for name in names}

    wrong = replace(wrong, request=replace(wrong.request, gradients=gradients))
    with pytest.raises(GeloraError, match=r"the gradient of .*query has the norm .* take method\.variant=lora"):
        wrong.attach()


def test_the_mean_gradient_is_that_of_the_first_rows_whoever_computes_it(tiny_models: dict[str, Path]) -> None:
    found = started(tiny_models["bert"], "lora_ga")
    model, names = found.loaded.model.train(), [*found.request.plan.rank_pattern]
    settings = replace(SETTINGS, batch_size=7)
    batches: list[torch.Tensor] = []

    def spy(model: Any, batch: Any) -> torch.Tensor:
        batches.append(batch.labels)
        return SETTINGS.loss(model, batch)

    def measured(examples: int = 20, process: Device = CPU, **changes: Any) -> dict[str, torch.Tensor]:
        batches.clear()
        changed = replace(settings, **({"loss": spy} | changes))
        return mean_gradients(model, found.train, changed, names, examples, pad_token_id=0, accelerator=process)

    whole = measured()
    assert [len(labels) for labels in batches] == [7, 7, 7]  # whole batches, as many as hold 20 rows
    measured(examples=1000)
    assert sum(map(len, batches)) == len(found.train)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    parts = measured(micro_batch_size=2)
    halves = [measured(process=Device(CPU.device, index, 2)) for index in (0, 1)]
    other = measured(seed=3)
    for name in names:
        torch.testing.assert_close(parts[name], whole[name], atol=1e-7, rtol=1e-4)
        torch.testing.assert_close(halves[0][name] + halves[1][name], whole[name], atol=1e-7, rtol=1e-4)
        assert not torch.allclose(other[name], whole[name])
    assert GRADIENT_EXAMPLES == 128  # the published code's; docs/explanation/methods.md says it


@pytest.mark.parametrize("variant", STARTED)
def test_attaching_draws_nothing_and_dropout_acts_on_the_whole_update(
    tiny_models: dict[str, Path], variant: str
) -> None:
    found = started(tiny_models["deberta-v2"], variant, kind="deberta-v2", dropout=0.5)
    base = logits(found.loaded.model, found.inputs)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    states = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    adapted = found.attach()
    assert random.getstate() == states[0]
    assert all(np.array_equal(one, other) for one, other in zip(np.random.get_state(), states[1], strict=True))
    assert torch.equal(torch.get_rng_state(), states[2])
    assert torch.equal(logits(adapted.model, found.inputs), base)  # to the last bit
    name = next(iter(found.request.plan.rank_pattern))
    layer = layer_of(adapted, name)
    inputs = torch.randn(5, layer.in_features)
    assert torch.equal(layer.train()(inputs), layer.base_layer(inputs))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(inputs), layer.base_layer(inputs))


@pytest.mark.parametrize("variant", STARTED)
def test_where_it_started_comes_back_with_the_checkpoint(tiny_models: dict[str, Path], variant: str) -> None:
    # Another machine may decompose to other last digits, so nothing that is decomposed again may count.
    first = started(tiny_models["bert"], variant)
    adapted = first.attach()
    tune(first, adapted)
    other = started(tiny_models["bert"], variant)
    resumed = other.attach()
    assert adapted.state is not None and resumed.load_state is not None and resumed.updates is not None
    state = {name: tensor.clone() for name, tensor in adapted.state().items()}
    sizes = sum(tensor.numel() for tensor in state.values())
    assert sizes == first.request.plan.adapter_params  # A0 and B0 alone
    for name, tensor in resumed.state().items() if resumed.state is not None else ():
        tensor.mul_(1 + 1e-3 * (len(name) % 5))
    with torch.no_grad():
        for name, parameter in resumed.trainable().items():
            parameter.copy_(adapted.trainable()[name])
    assert not torch.equal(logits(resumed.model, first.inputs), logits(adapted.model, first.inputs))
    resumed.load_state(state)
    assert torch.equal(logits(resumed.model, first.inputs), logits(adapted.model, first.inputs))
    assert adapted.updates is not None
    moved = adapted.updates()
    assert all(torch.equal(update, moved[name]) for name, update in resumed.updates().items())


@pytest.mark.parametrize("variant", STARTED)
def test_it_is_saved_as_plain_lora_that_survives_rounding(
    tiny_models: dict[str, Path], tmp_path: Path, variant: str
) -> None:
    found = started(tiny_models["bert"], variant)
    plan = found.request.plan
    adapted = found.attach()
    adapted.save(tmp_path / "start")
    again = load_peft(started(tiny_models["bert"], variant).loaded.model, tmp_path / "start")
    base = logits(started(tiny_models["bert"], variant).loaded.model, found.inputs)
    torch.testing.assert_close(logits(again, found.inputs), base, atol=1e-5, rtol=1e-5)
    tune(found, adapted)
    adapted.save(tmp_path / "end")
    config = json.loads((tmp_path / "end" / PEFT_CONFIG).read_text())
    assert config["rank_pattern"] == {re.escape(name): 2 * rank for name, rank in plan.rank_pattern.items()}
    assert config["alpha_pattern"] == {
        re.escape(name): 2 * plan.scaling * rank for name, rank in plan.rank_pattern.items()
    }
    assert (config["peft_type"], config["init_lora_weights"]) == ("LORA", True)
    tensors = load_file(tmp_path / "end" / PEFT_WEIGHTS)
    assert adapted.state is not None and adapted.updates is not None
    for name, update in adapted.updates().items():
        a, b = (tensors[f"base_model.model.{name}.lora_{factor}.weight"] for factor in "AB")
        layer, starts = layer_of(adapted, name), adapted.state()
        doubled_a = torch.cat([layer.lora_A[ADAPTER].weight, starts[f"{name}.A0"]])
        doubled_b = torch.cat([layer.lora_B[ADAPTER].weight, -starts[f"{name}.B0"]], dim=1)
        torch.testing.assert_close(b @ a, doubled_b @ doubled_a, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(plan.scaling * b @ a, update, atol=1e-5, rtol=1e-4)
        rounded = plan.scaling * b.bfloat16().float() @ a.bfloat16().float()
        assert (rounded - update).norm() < 2**-7 * update.norm()
