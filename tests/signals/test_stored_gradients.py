"""Gradients of weights that are stored in another type than float32: those of the same weights in float32."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from gelora_cli.core.registries import SIGNALS
from gelora_cli.geometry.states import StateStore
from gelora_cli.models.block_map import block_modules
from gelora_cli.models.quantized import Bf16Linear
from gelora_cli.models.recompute import recomputing
from gelora_cli.signals import gradient_pass
from gelora_cli.signals.base import SignalContext
from gelora_cli.signals.gradient_pass import GradientPass
from gelora_cli.signals.weight_gradients import WeightGradients
from tests.helpers.gradient_contexts import labelled_context
from tests.helpers.method_cases import inputs_of
from tests.helpers.stored import linear_names, store_blocks, stored_and_dense
from tests.helpers.tiny import make_tiny
from tests.helpers.variant_matrix import fresh

SMALL = ("profile.gradient_batches=10", "profile.gradient_batch_size=3", "profile.max_examples=30")
Open = Callable[[str], SignalContext]


@pytest.fixture
def opened(tmp_path: Path, glue_dir: Path) -> Open:
    def open_context(kind: str) -> SignalContext:
        directory = tmp_path / kind
        if not directory.exists():
            make_tiny(kind, directory)
        context = labelled_context(
            tmp_path, "task=cola", f"model.path={directory}", f"data.glue={glue_dir}", "seed=0", *SMALL
        )
        for name in linear_names(context):
            weight = context.model.get_parameter(f"{name}.weight")
            weight.data = weight.data.bfloat16().float()  # so that storing it in bfloat16 loses nothing
        return context

    return open_context


def measure(context: SignalContext, signal: str, place: str, **profile: Any) -> Any:
    store = StateStore(context.store.directory.parent / place)
    return SIGNALS.get(signal).measure(replace(context, store=store, profile=replace(context.profile, **profile)))


def test_they_are_bitwise_those_of_float32(opened: Open) -> None:
    context = opened("llama")
    exact = {name: measure(context, name, f"exact-{name}") for name in ("gradients", "weights")}
    half = store_blocks(context)
    for name, signal in exact.items():
        assert measure(half, name, f"stored-{name}").linears == signal.linears


@pytest.mark.parametrize("kind", [pytest.param("albert", marks=pytest.mark.slow), "deberta-v2"])
def test_calls_of_one_linear_add_up(opened: Open, kind: str) -> None:
    # ALBERT's blocks run several times, and DeBERTa's keys read positions, too.
    context = opened(kind)
    exact = measure(context, "gradients", "exact")
    again = measure(store_blocks(context), "gradients", "stored")
    for one, other in zip(exact.linears, again.linears, strict=True):
        assert one.name == other.name
        assert astuple(other.numbers) == pytest.approx(astuple(one.numbers), rel=1e-5)


def test_parts_of_a_batch_wait_on_the_cpu_and_give_the_same_numbers(opened: Open) -> None:
    context = opened("llama")
    exact = measure(context, "gradients", "exact", batch_size=2)
    assert measure(store_blocks(context), "gradients", "stored", batch_size=2).linears == exact.linears


def test_blocks_that_are_computed_a_second_time_give_the_same_numbers(opened: Open) -> None:
    context = store_blocks(opened("llama"))
    kept = measure(context, "gradients", "kept")
    with recomputing(block_modules(context.model, context.model_map)):
        assert measure(context, "gradients", "again").linears == kept.linears


def test_a_block_at_most_waits_and_nothing_of_the_model_is_left_changed(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = store_blocks(opened("llama"))
    blocks = []
    for block in context.model_map.blocks:
        blocks.append(sum(linear.in_features * linear.out_features for linear in block.linears))
    waiting: list[int] = []
    add = WeightGradients._add

    def count(self: WeightGradients, *arguments: Any) -> None:
        waiting.append(sum(gradient.numel() for gradient in self._gradients.values()))
        add(self, *arguments)

    monkeypatch.setattr(WeightGradients, "_add", count)
    before = {name: parameter.detach().clone() for name, parameter in context.model.named_parameters()}
    measure(context, "gradients", "stored")
    assert all(torch.equal(before[name], parameter) for name, parameter in context.model.named_parameters())
    assert all(parameter.grad is None for parameter in context.model.parameters())
    assert not any(module._forward_hooks for module in context.model.modules())
    assert 0 < max(waiting) <= max(blocks)


def test_what_the_sums_take_is_said_and_a_small_disk_warned_of(
    opened: Open, monkeypatch: pytest.MonkeyPatch, log_lines: list[str]
) -> None:
    context = store_blocks(opened("gpt2"))
    measurement = GradientPass(context, context.examples(), linear_names(context))
    sizes = [linear.in_features * linear.out_features for block in context.model_map.blocks for linear in block.linears]
    monkeypatch.setattr(gradient_pass, "SMALL_ROOM", 0)
    monkeypatch.setattr(gradient_pass, "GB", float(4 * sum(sizes)))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=9 * 4 * sum(sizes)))
    measurement._announce_room(10)
    said = "\n".join(log_lines)
    assert "1.0 GB in the memory of the CPU" in said and "10.0 GB on disk" in said
    assert "only 9.0 GB are free in" in said


@pytest.mark.parametrize("dtype", ["bf16", pytest.param("4bit", marks=pytest.mark.extras)])
def test_they_are_those_of_autograd_on_the_weights_that_are_computed_with(tmp_path: Path, dtype: str) -> None:
    if dtype == "4bit":
        pytest.importorskip("bitsandbytes")
    directory = make_tiny("qwen3", tmp_path)
    names = [linear.name for block in fresh(directory).map.blocks for linear in block.linears]
    found = []
    for loaded in stored_and_dense(directory, dtype):
        loaded.model.requires_grad_(False)
        gradients = WeightGradients(loaded.model, names)
        for weight in gradients.weights.values():
            weight.requires_grad_(True)
        with gradients.reported(lambda name: None):
            scores = loaded.model(**inputs_of(directory, "qwen3")).logits
            gradients.backward((scores**2).sum(), is_last=True)
            found.append({name: gradients.take(name) for name in names})
    stored_ones, dense_ones = found
    assert all(torch.equal(stored_ones[name], dense_ones[name]) for name in names)
    assert all(bool(gradient.any()) for gradient in dense_ones.values())


def test_a_linear_that_the_loss_ignores_has_a_gradient_of_zero() -> None:
    linear = Bf16Linear(nn.Linear(3, 2), torch.ones(2, 3).bfloat16())
    model = nn.ModuleDict({"used": linear, "unused": Bf16Linear(nn.Linear(3, 2), torch.ones(2, 3).bfloat16())})
    gradients, complete = WeightGradients(model, ["used", "unused"]), list[str]()
    with gradients.reported(complete.append):
        loss = model["used"](torch.tensor([[1.0, 2.0, 3.0]])).sum()
        gradients.backward(loss, is_last=True)
        assert torch.equal(gradients.take("used"), torch.tensor([[1.0, 2.0, 3.0]] * 2))
        assert torch.equal(gradients.take("unused"), torch.zeros(2, 3))
    assert complete == ["used"]
