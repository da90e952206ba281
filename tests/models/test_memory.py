"""The forecast of memory: what a block keeps is what torch keeps, and the figures of a large decoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gelora_cli.config.schema import LowRankConfig
from gelora_cli.methods.base import MethodContext
from gelora_cli.methods.updates.arithmetic import training_arithmetic
from gelora_cli.methods.updates.lora import attach_lora
from gelora_cli.models.block_map import block_modules
from gelora_cli.models.memory import MemorySettings, MemoryShapes, forecast
from gelora_cli.models.memory_shapes import memory_shapes
from gelora_cli.models.operations import UpdateWork
from scripts.memory_forecast import decoder_shapes, settings_of
from tests.helpers.method_cases import loaded_and_plan
from tests.helpers.tiny import make_tiny

ROWS, LONGEST = 4, 48
TINY = MemorySettings(
    precision="float32",
    rows=ROWS,
    longest=LONGEST,
    scored=0,
    work=UpdateWork(),
    trained_params=0,
    eval_rows=1,
    eval_longest=1,
    eval_scored=0,
)


@pytest.mark.parametrize("kind", ["bert", "deberta-v2", "llama", "gpt2", "starcoder2"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_blocks_keep_what_torch_keeps(tmp_path: Path, kind: str, precision: str) -> None:
    loaded, plan = loaded_and_plan(make_tiny(kind, tmp_path), modules="all", budget="rank:4")
    shapes = memory_shapes(loaded.model, loaded.map, scores_vocabulary=False)
    adapted = attach_lora(MethodContext(loaded.model, loaded.map, plan, LowRankConfig(), 0))
    kept = kept_bytes(adapted.model, block_modules(loaded.model, loaded.map), bf16=precision == "bf16")
    settings = replace(TINY, precision=precision, work=UpdateWork(plan.rank_pattern))
    assert forecast(shapes, settings).activations == pytest.approx(kept, rel=0.15 if kind == "deberta-v2" else 0.07)


def kept_bytes(model: Any, blocks: list[torch.nn.Module], *, bf16: bool) -> int:
    """Return the bytes of all storages that a forward pass keeps inside the blocks, without those of weights."""
    kept: dict[int, torch.Tensor] = {}
    inside = False

    def switch(value: bool) -> Any:
        def hook(*_: object) -> None:
            nonlocal inside
            inside = value

        return hook

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if inside and tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    for block in blocks:
        block.register_forward_pre_hook(switch(True))
        block.register_forward_hook(switch(False))
    tokens = torch.randint(5, 60, (ROWS, LONGEST), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(tokens)
    mask[0, -3:] = 0  # without any padding, torch needs no mask
    with (
        training_arithmetic(blocks, bf16=bf16, fast=False),
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        weights = {parameter.data.untyped_storage().data_ptr() for parameter in model.parameters()}
        model.train()(input_ids=tokens, attention_mask=mask)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.fixture(scope="module")
def llama() -> MemoryShapes:
    """Return the shapes of Llama 3 8B, by the sizes of its published config.json."""
    return decoder_shapes(None)


def test_an_8b_decoder_has_its_parameters_and_weights(llama: MemoryShapes) -> None:
    assert llama.linear_params + llama.other_params == 8_030_261_248
    assert (llama.vocabulary, llama.output_params) == (128256, 128256 * 4096)
    memory = forecast(llama, settings_of(llama, 16, "bf16", 1, 2048, True))
    norms = 65 * 4096  # in float32
    assert memory.weights == 2 * 8_030_261_248 + 2 * norms and memory.loading == 4 * 8_030_261_248
    assert memory.trained == 16 * 41_943_040
    assert memory.logits == 12 * 2048 * 128256
    assert memory.peak == memory.training == sum((memory.weights, memory.trained, memory.activations, memory.logits))
    quantized = forecast(llama, settings_of(llama, 16, "4bit", 1, 2048, True))
    assert quantized.dequantized == 2 * 4096 * 14336 and quantized.weights < 0.4 * memory.weights


@pytest.mark.parametrize(
    ("dtype", "rows", "longest", "recompute", "card"),
    [
        ("4bit", 1, 2048, True, 24),
        ("4bit", 4, 2048, True, 48),
        ("4bit", 1, 2048, False, 48),
        ("bf16", 1, 2048, True, 48),
        ("bf16", 4, 2048, True, 48),
        ("bf16", 4, 2048, False, None),
    ],
)
def test_which_card_suffices_for_an_8b_decoder(
    llama: MemoryShapes, dtype: str, rows: int, longest: int, recompute: bool, card: int | None
) -> None:
    assert forecast(llama, settings_of(llama, 16, dtype, rows, longest, recompute)).card == card


def test_each_setting_moves_its_own_term(llama: MemoryShapes) -> None:
    plain = replace(settings_of(llama, 16, "float32", 4, 512, False), eval_rows=1, generates=False)
    memory = forecast(llama, plain)
    assert memory.weights == 6 * llama.linear_params + 4 * llama.other_params + 2 * llama.output_params
    assert forecast(llama, replace(plain, second_model=True)).reload - memory.reload == 4 * 8_030_261_248
    assert memory.logits == 12 * 4 * 512 * 128256 and memory.inside == 0
    first_half = {name: rank for name, rank in plain.work.ranks.items() if int(name.split(".")[2]) >= 16}
    half = forecast(llama, replace(plain, work=UpdateWork(first_half)))
    assert half.activations == memory.activations / 2  # nothing is kept below the first block that trains
    generating = forecast(llama, replace(plain, generates=True))
    assert generating.evaluation - memory.evaluation == 2 * 32 * 1024 * 2 * 512  # keys and values of 512 tokens
    all_eager = forecast(replace(llama, is_eager=True), plain)
    assert all_eager.activations > memory.activations
    assert forecast(llama, replace(plain, work=UpdateWork())).activations == 0
