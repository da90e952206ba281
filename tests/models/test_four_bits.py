"""Frozen weights in NF4, by bitsandbytes on the CPU: what they compute, and that nothing is fetched for it."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.config.schema import PlannedLoraConfig
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.devices import seeded
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.models.heads import LanguageHead
from gelora_cli.models.load import LoadedModel, load_model
from gelora_cli.models.quantized import Nf4Linear, linear_weight, store_weights, weight_count
from tests.helpers.method_cases import inputs_of, profile_of
from tests.helpers.models import from_directory
from tests.helpers.stored import make_published_in_bf16, stored_and_dense
from tests.helpers.tiny import make_tiny
from tests.helpers.variant_matrix import fresh, labels_of_sentences, logits

pytestmark = pytest.mark.extras

KINDS = ("bert", "qwen3", "gpt2")


@pytest.fixture(scope="module", params=KINDS)
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("bitsandbytes")
    return make_tiny(request.param, tmp_path_factory.mktemp(request.param))


def adapted(loaded: LoadedModel) -> AdaptedModel:
    plan = plan_ranks(profile_of(loaded.map), parse_budget("rank:4"), modules="all")
    context: Any = MethodContext(loaded.model, loaded.map, plan, PlannedLoraConfig(), seed=0)
    return METHODS.get("gelora").attach(context)


def train(model: Any, parameters: list[nn.Parameter], inputs: dict[str, torch.Tensor], *, bf16: bool) -> list[float]:
    """Take four steps, and evaluate between them: bitsandbytes' own linears repack their weights then."""
    optimizer, losses = torch.optim.AdamW(parameters, lr=0.01), []
    for _ in range(4):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(model.train()(**inputs).logits.float(), labels_of_sentences())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        logits(model, inputs)
    return losses


@pytest.mark.parametrize("bf16", [False, True])
def test_training_on_four_bits_equals_training_on_the_weights_that_they_stand_for(directory: Path, bf16: bool) -> None:
    inputs = inputs_of(directory, fresh(directory).map.kind)
    runs = []
    for loaded in stored_and_dense(directory, "4bit"):
        adapter = adapted(loaded)
        assert {tensor.dtype for tensor in adapter.trainable().values()} == {torch.float32}
        with seeded(0):  # for dropout
            losses = train(adapter.model, [*adapter.trainable().values()], inputs, bf16=bf16)
        runs.append((losses, {name: tensor.detach().clone() for name, tensor in adapter.trainable().items()}))
    (losses, tensors), (wanted, dense) = runs
    assert losses == wanted and losses[0] != losses[-1]
    assert tensors.keys() == dense.keys()
    assert all(torch.equal(tensor, dense[name]) for name, tensor in tensors.items())


def test_four_bits_take_half_a_byte_a_weight_and_round_to_it(directory: Path) -> None:
    stored, plain = stored_and_dense(directory, "4bit")[0], fresh(directory)
    assert stored.map == plain.map
    for block in stored.map.blocks:
        for linear in block.linears:
            module: Any = stored.model.get_submodule(linear.name)
            weight = plain.model.get_parameter(f"{linear.name}.weight").detach()
            assert isinstance(module, Nf4Linear)
            assert weight_count(module) == weight.numel() == 2 * module.weight.numel()
            assert linear_weight(module).shape == weight.shape
            # Between two of NF4's levels lie at most 0.304 of a block's largest weight, and scales are rounded, too.
            largest = weight.flatten().view(-1, 64).abs().amax(dim=1).repeat_interleave(64).view_as(weight)
            error = (linear_weight(module) - weight).abs() / largest
            assert 0.01 < float(error.max()) < 0.16
    again: Any = copy.deepcopy(stored.model)
    inputs = inputs_of(directory, stored.map.kind)
    assert torch.equal(logits(again, inputs), logits(stored.model, inputs))
    assert torch.equal(logits(again.to("cpu"), inputs), logits(stored_and_dense(directory, "4bit")[0].model, inputs))


def test_a_model_loaded_as_it_was_published_has_the_same_four_bits(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    resolved = from_directory(make_published_in_bf16("qwen3", tmp_path))
    models: list[Any] = []
    for as_published in (False, True):
        loaded = load_model(resolved, LanguageHead(), seed=0, as_published=as_published)
        models.append(store_weights(loaded, "4bit", torch.device("cpu")).model)
    inputs = inputs_of(tmp_path, "qwen3")
    assert torch.equal(logits(models[0], inputs), logits(models[1], inputs))


FAKE = """
from pathlib import Path
def get_kernel(*names, **options):
    Path({marker!r}).write_text("fetched")
    raise RuntimeError("no network")
"""


@pytest.mark.parametrize("module", ["gelora_cli.models.quantized", "gelora_cli.methods.updates.lora"])
def test_no_kernel_is_fetched_from_the_hub(module: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    (tmp_path / "kernels.py").write_text(FAKE.format(marker=str(tmp_path / "marker")), encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {module}\n"
    code += "from gelora_cli.models.quantized import load_bitsandbytes; load_bitsandbytes()\n"
    code += "import kernels; assert kernels.get_kernel"  # others can still import it
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert not (tmp_path / "marker").exists()
