"""Gradient checkpointing changes no number of a training or of a gradient signal, and keeps less for the way back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gelora_cli.config.checks import value_problems
from gelora_cli.config.schema import LowRankConfig
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.updates.arithmetic import training_arithmetic
from gelora_cli.methods.updates.lora import attach_lora
from gelora_cli.models.block_map import block_modules
from gelora_cli.models.recompute import recomputing
from tests.helpers.composed import composed
from tests.helpers.method_cases import inputs_of, loaded_and_plan
from tests.helpers.tiny import make_tiny
from tests.helpers.variant_matrix import labels_of_sentences

KINDS = ("bert", "albert", "llama", "gemma3_text")
"""All declared kinds were tried once by hand; these differ in dropout, shared blocks, and what a block is given."""


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def directory(kind: str) -> Path:
        if kind not in made:
            made[kind] = make_tiny(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return directory


def adapted_model(directory: Path, variant: str = "lora") -> tuple[AdaptedModel, list[nn.Module]]:
    """Return a tiny model with an adapter, and its blocks."""
    loaded, plan = loaded_and_plan(directory, modules="all", variant=variant)
    adapted = attach_lora(MethodContext(loaded.model, loaded.map, plan, LowRankConfig(), 0))
    return adapted, block_modules(loaded.model, loaded.map)


def trained(directory: Path, kind: str, variant: str, *, bf16: bool, recompute: bool) -> tuple[list[float], Any]:
    """Return the losses of three steps with dropout, and the tensors that trained."""
    adapted, blocks = adapted_model(directory, variant)
    inputs = inputs_of(directory, kind)
    optimizer = torch.optim.AdamW(adapted.trainable().values(), lr=0.01)
    model: Any = adapted.model.train()
    losses = []
    torch.manual_seed(0)
    with training_arithmetic(blocks, bf16=bf16, fast=False), recomputing(blocks if recompute else ()):
        for _ in range(3):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = model(**inputs).logits
            loss = nn.functional.cross_entropy(logits.float(), labels_of_sentences())
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
    return losses, adapted.trainable()


@pytest.mark.parametrize(
    ("kind", "bf16"),
    [
        *(pytest.param(kind, False, id=f"float32-{kind}") for kind in KINDS),
        pytest.param("llama", True, id="bf16-llama"),
        *(pytest.param(kind, True, id=f"bf16-{kind}", marks=pytest.mark.slow) for kind in KINDS if kind != "llama"),
    ],
)
def test_losses_and_weights_stay_bitwise(directories: Callable[[str], Path], kind: str, bf16: bool) -> None:
    variant = "dora" if kind == "llama" else "lora"
    losses, weights = trained(directories(kind), kind, variant, bf16=bf16, recompute=False)
    again, others = trained(directories(kind), kind, variant, bf16=bf16, recompute=True)
    assert again == losses and len(set(losses)) == 3
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())


def test_a_block_runs_again_on_the_way_back_and_its_inside_is_not_kept(directories: Callable[[str], Path]) -> None:
    adapted, blocks = adapted_model(directories("llama"))
    inputs = inputs_of(directories("llama"), "llama")
    calls: list[str] = []
    blocks[0].get_submodule("mlp").register_forward_pre_hook(lambda *_: calls.append("mlp"))
    kept_bytes = {}
    for recompute in (False, True):
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with recomputing(blocks) if recompute else nullcontext():
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                total = adapted.model(**inputs).logits.sum()
            total.backward()
        kept_bytes[recompute] = sum(kept.values())
        assert calls == ["mlp"] * (2 if recompute else 1)
        calls.clear()
    assert kept_bytes[True] < 0.5 * kept_bytes[False]
    assert not any("forward" in vars(block) for block in blocks)
    with recomputing(blocks), torch.no_grad():
        adapted.model(**inputs)
    assert calls == ["mlp"]  # an evaluation has no way back


def test_a_cuda_graph_and_recomputed_blocks_exclude_each_other() -> None:
    (problem,) = value_problems(composed("train.gradient_checkpointing=true", "train.fast=true"))
    assert problem.startswith("train.gradient_checkpointing=true: train.fast=true") and "train.fast=false" in problem
    assert value_problems(composed("train.gradient_checkpointing=true")) == []
