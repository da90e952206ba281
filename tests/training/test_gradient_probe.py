"""The look at gradients before training: what it finds, and that it leaves no trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer

from gelora_cli.data.collate import Batch, collate
from gelora_cli.methods.base import AdaptedModel
from gelora_cli.methods.updates.checks import base_name
from gelora_cli.methods.updates.lora import layers_of
from gelora_cli.models.block_map import is_inside
from gelora_cli.training.gradient_probe import find_missing_gradients
from tests.helpers.bench import Bench
from tests.helpers.methods_known import RIVALS
from tests.helpers.rivals import Case, case
from tests.helpers.train_settings import SETTINGS


def missing(found: Case, attached: AdaptedModel) -> list[str]:
    """Probe on two batches of eight rows."""
    head = found.loaded.map.head_modules

    def batches() -> Iterator[Batch]:
        for rows in (np.arange(8), np.arange(8, 16)):
            yield collate(found.train, rows, 0, torch.device("cpu"))

    return find_missing_gradients(
        attached,
        batches(),
        loss=SETTINGS.loss,
        may_be_zero=lambda name: is_inside(base_name(name), head) or not attached.adds_tensors,
        autocast=nullcontext,
    )


def cases() -> Iterator[tuple[str, str]]:
    yield from (("bert", method) for method in ("gelora", *RIVALS))
    yield from ((kind, "lora") for kind in ("deberta-v2", "llama"))


@pytest.mark.parametrize(("kind", "method"), cases())
def test_every_method_passes_and_nothing_is_changed(tiny_models: dict[str, Path], kind: str, method: str) -> None:
    found = case(tiny_models[kind], method, kind=kind)
    attached = found.attach()
    before = {name: tensor.detach().clone() for name, tensor in attached.model.named_parameters()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    attached.model.eval()
    assert missing(found, attached) == []
    assert attached.adds_tensors == (method not in ("bitfit", "full"))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # type: ignore[index]
    assert random.getstate() == states[2]
    assert not attached.model.training
    for name, tensor in attached.model.named_parameters():
        assert tensor.grad is None, name
        assert torch.equal(tensor.view(torch.int32), before[name].view(torch.int32)), name


def test_a_narrow_rectifier_passes_whatever_its_seed(tiny_models: dict[str, Path]) -> None:
    for seed in range(2):  # a bottleneck of one or two units may be inactive on all tokens
        found = case(tiny_models["bert"], "pfeiffer", seed=seed)
        assert missing(found, found.attach()) == []


def test_a_fused_linear_that_ignores_its_update_is_named(tiny_models: dict[str, Path]) -> None:
    found = case(tiny_models["bert"], "lora")
    attached = found.attach()
    model: Any = attached.model
    layers = layers_of(model, LoraLayer)
    fused = next(iter(layers))
    base = layers[fused].base_layer
    layers[fused].forward = lambda x: torch.nn.functional.linear(x, base.weight, base.bias)
    names = missing(found, attached)
    assert names == [f"base_model.model.{fused}.lora_{part}.default.weight" for part in "AB"]


def test_an_update_of_half_a_product_is_named_too(tiny_models: dict[str, Path]) -> None:
    found = case(tiny_models["bert"], "sora")
    attached = found.attach()
    layer: Any = next(module for module in attached.model.modules() if hasattr(module, "sora_A"))
    layer.gate.register_hook(torch.zeros_like)  # a gradient that is there, and zero
    assert [name.rpartition(".")[2] for name in missing(found, attached)] == ["gate"]


def test_own_parameters_may_have_zeros_but_no_nones(tiny_models: dict[str, Path]) -> None:
    found = case(tiny_models["bert"], "full")
    attached = found.attach()
    model: Any = attached.model
    model.bert.unused = torch.nn.Linear(2, 2)
    model.bert.embeddings.word_embeddings.weight.register_hook(torch.zeros_like)
    assert missing(found, attached) == ["bert.unused.weight", "bert.unused.bias"]


def test_a_run_stops_before_training(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from peft.tuners.lora import Linear

    monkeypatch.setattr(Linear, "forward", lambda self, x: self.base_layer(x))
    assert bench.run("task=cola", "method=lora", "budget=2500", "train.max_steps=2") == 1
    message = capsys.readouterr().err.splitlines()[-1]
    directory = bench.only()
    for part in ("method=lora", "24 of 26 tensors", "query.lora_A", "20 more", "a fused kernel"):
        assert part in message
    assert len(message) < 900
    assert (directory / "log.txt").read_text().count("lora_B.default.weight") == 12
    assert not (directory / "metrics.jsonl").exists()
