"""Frozen weights that are cast once change no number; the kernels of `train.fast` change them by rounding alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from gelora_cli.config.schema import LowRankConfig
from gelora_cli.core.artifacts.result import EvalResult
from gelora_cli.core.distributed import make_accelerator
from gelora_cli.core.errors import StoppedError
from gelora_cli.data.encoding import encode
from gelora_cli.data.splits import TextSplit
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.updates.arithmetic import training_arithmetic, trains_plain_lora
from gelora_cli.methods.updates.kernels import Dropout, LoraLinear
from gelora_cli.methods.updates.lora import attach_lora
from gelora_cli.models.block_map import block_modules
from gelora_cli.models.locate import resolve_model
from gelora_cli.models.tokenizer import load_tokenizer
from gelora_cli.training.checkpoint import Checkpoints
from gelora_cli.training.settings import TrainSettings
from tests.helpers.method_cases import loaded_and_plan
from tests.helpers.rows import rows
from tests.helpers.tiny import make_tiny
from tests.helpers.train_settings import SETTINGS
from tests.helpers.training import NO_CHECKPOINTS, fine_tune

Trained = tuple[list[float], AdaptedModel]


def train(
    directory: Path,
    settings: TrainSettings,
    *,
    precision: str = "bf16",
    variant: str = "lora",
    dropout: float | None = None,
    with_blocks: bool = True,
    kind: str = "bert",
    **more: Any,
) -> Trained:
    """Train a tiny model and return its losses and itself."""
    drawn = rows("cola", 32, seed=1)
    loaded, plan = loaded_and_plan(directory, dropout=dropout, variant=variant)
    tokenizer = load_tokenizer(resolve_model(hub=None, path=str(directory)), kind)
    split = TextSplit(
        "train", np.arange(32), ([row["sentence"] for row in drawn],), np.array([row["label"] for row in drawn])
    )
    attached = attach_lora(MethodContext(loaded.model, loaded.map, plan, LowRankConfig(), 0))
    lines: list[dict[str, Any]] = []
    fine_tune(
        attached,
        encode(split, tokenizer, 64),
        settings,
        pad_token_id=int(tokenizer.pad_token_id or 0),
        accelerator=make_accelerator(precision),
        evaluate=lambda epoch: (EvalResult("validation", 10, {"accuracy": 0.5}, "accuracy", False, 0.1),),
        record=lines.append,
        arithmetic=partial(
            training_arithmetic,
            block_modules(loaded.model, loaded.map) if with_blocks else (),
            bf16=precision == "bf16",
            fast=settings.fast,
        ),
        **more,
    )
    return [line["loss"] for line in lines if "loss" in line], attached


SHORT = replace(SETTINGS, epochs=1)


@pytest.fixture(autouse=True)
def any_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AcceleratorState, "_shared_state", {})  # a process has one precision otherwise


@pytest.fixture
def kernel_calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the linears that the kernels of `train.fast` compute; on some processors they round as PEFT's do."""
    counts: Counter[str] = Counter()
    forward = LoraLinear.forward

    def counted(*arguments: Any) -> torch.Tensor:
        counts["linears"] += 1
        return forward(*arguments)

    monkeypatch.setattr(LoraLinear, "forward", staticmethod(counted))
    return counts


@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_casting_frozen_weights_once_changes_no_number(tiny_models: dict[str, Path], variant: str) -> None:
    (before, plain), (after, cast) = (
        train(tiny_models["bert"], SHORT, variant=variant, with_blocks=with_blocks) for with_blocks in (False, True)
    )
    assert before == after
    others = cast.model.state_dict()
    assert all(torch.equal(tensor, others[name]) for name, tensor in plain.model.state_dict().items())


@pytest.mark.parametrize("kind", ["bert", "deberta-v2", "llama"])
@pytest.mark.parametrize(("precision", "share"), [("float32", 1e-5), ("bf16", 0.05)])
def test_fast_steps_train_to_the_same_losses_without_dropout(
    tiny_models: dict[str, Path], kernel_calls: Counter[str], kind: str, precision: str, share: float
) -> None:
    settings = replace(SHORT, learning_rate=5e-3)
    before, plain = train(tiny_models[kind], settings, precision=precision, dropout=0.0, kind=kind)
    assert not kernel_calls
    after, fast = train(tiny_models[kind], replace(settings, fast=True), precision=precision, dropout=0.0, kind=kind)
    assert kernel_calls["linears"] > 0
    assert len(before) == 4
    moved = max(before) - min(before)
    assert moved > 0.05  # it trains, so that equal losses say something
    assert after == pytest.approx(before, abs=share * moved)
    for name, tensor in fast.model.named_parameters():
        assert tensor.dtype == torch.float32, name
    assert not any("forward" in vars(module) for module in fast.model.modules() if module is not fast.model)
    frozen = {name: tensor for name, tensor in plain.model.named_parameters() if not tensor.requires_grad}
    others = dict(fast.model.named_parameters())
    assert all(torch.equal(tensor, others[name]) for name, tensor in frozen.items())


@pytest.mark.parametrize("kind", ["gemma2", "gpt2"])
def test_fast_steps_in_bf16_take_masks_of_padding_and_converted_linears(
    tmp_path: Path, kernel_calls: Counter[str], kind: str
) -> None:
    settings, directory = replace(SHORT, learning_rate=5e-3), make_tiny(kind, tmp_path)
    (before, _), (after, _) = (
        train(directory, replace(settings, fast=chosen), dropout=0.0, kind=kind) for chosen in (False, True)
    )
    # Gemma 2's mask has rows of nothing but padding, where the window of a padding token holds no other.
    assert after == pytest.approx(before, abs=0.05)
    assert kernel_calls["linears"] > 0


def test_a_fast_training_resumes_bitwise(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    settings = replace(SHORT, fast=True)
    whole, uninterrupted = train(tiny_models["bert"], settings)
    calls = iter(range(100))
    checkpoints = Checkpoints(tmp_path, 1, None)
    with pytest.raises(StoppedError):
        train(tiny_models["bert"], settings, checkpoints=checkpoints, stop=lambda: next(calls) == 1)
    rest, resumed = train(tiny_models["bert"], settings, checkpoints=checkpoints)
    assert rest == whole[2:]
    others = resumed.trainable()
    assert all(torch.equal(tensor, others[name]) for name, tensor in uninterrupted.trainable().items())
    assert NO_CHECKPOINTS.latest() is None


def test_blocks_where_more_than_plain_lora_trains_stay(tiny_models: dict[str, Path]) -> None:
    loaded, plan = loaded_and_plan(tiny_models["bert"], variant="dora")
    block = block_modules(loaded.model, loaded.map)[0]
    assert not trains_plain_lora(block)  # all of it
    attach_lora(MethodContext(loaded.model, loaded.map, plan, LowRankConfig(), 0))
    assert not trains_plain_lora(block)
    with training_arithmetic([block], bf16=True, fast=True):
        assert "forward" not in vars(block)


def test_the_gradients_of_the_linear_are_those_of_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = {"x": (2, 3, 5), "weight": (7, 5), "bias": (7,), "a": (2, 5), "b": (7, 2)}
    values = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    trained = [values[name].requires_grad_() for name in "xab"]

    def gradients(output: torch.Tensor) -> list[torch.Tensor]:
        return [output.detach(), *torch.autograd.grad(output.square().sum(), trained)]

    x, weight, bias, a, b = values.values()
    formula = gradients(x @ weight.T + bias + 0.5 * (x @ a.T) @ b.T)
    kernel: Any = LoraLinear.apply
    for ours, theirs in zip(gradients(kernel(x, weight, bias, a, b, 0.5)), formula, strict=True):
        torch.testing.assert_close(ours, theirs)
    without_bias = gradients(kernel(x, weight, None, a, b, 0.5))
    torch.testing.assert_close(without_bias[0], formula[0] - bias)


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    torch.manual_seed(0)
    x = torch.ones(1001, 1003, requires_grad=True)
    kernel: Any = Dropout.apply
    output = kernel(x, 0.1)
    share = float((output == 0).float().mean())
    assert share == pytest.approx(0.1, abs=4 * (0.09 / x.numel()) ** 0.5)  # four standard errors
    assert float(output.detach().mean()) == pytest.approx(1.0, abs=2e-3)
    output.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, output.detach())
