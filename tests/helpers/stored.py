"""A tiny model with its weights stored in another type, the same one in float32, and one published in bfloat16."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from gelora_cli.models.load import LoadedModel
from gelora_cli.models.quantized import Bf16Linear, StoredLinear, linear_weight, store_weights
from gelora_cli.signals.base import SignalContext
from tests.helpers.models import rewrite_json, rewrite_weights
from tests.helpers.tiny import make_tiny
from tests.helpers.variant_matrix import fresh


def stored_and_dense(directory: Path, dtype: str) -> tuple[LoadedModel, LoadedModel]:
    """Return the model as `model.dtype` stores it, and one in float32 with the weights that the first computes with."""
    stored, dense = store_weights(fresh(directory), dtype, torch.device("cpu")), fresh(directory)
    for name, module in stored.model.named_modules():
        if isinstance(module, StoredLinear):
            dense.model.get_submodule(name).weight.data = linear_weight(module)
    tokens = stored.model.get_input_embeddings().weight
    assert isinstance(tokens, torch.Tensor)
    dense.model.get_input_embeddings().weight.data = tokens.float()
    return stored, dense


def linear_names(context: SignalContext) -> list[str]:
    """Return the names of all linears of the blocks."""
    return [linear.name for block in context.model_map.blocks for linear in block.linears]


def store_blocks(context: SignalContext) -> SignalContext:
    """Store the weights of the blocks in bfloat16, in the model of this context."""
    replaced: dict[int, nn.Module] = {}
    for name, module in list(context.model.named_modules(remove_duplicate=False)):
        if name in linear_names(context) and isinstance(module, nn.Linear):
            parent, _, child = name.rpartition(".")
            half = replaced.setdefault(id(module), Bf16Linear(module, module.weight.detach().bfloat16()))
            setattr(context.model.get_submodule(parent), child, half)
    assert {context.model.get_submodule(name).weight.dtype for name in linear_names(context)} == {torch.bfloat16}
    return context


def make_published_in_bf16(kind: str, directory: Path) -> Path:
    """Write a tiny model whose weights and configuration are in bfloat16."""
    make_tiny(kind, directory)
    rewrite_weights(directory, lambda tensors: {name: tensor.bfloat16() for name, tensor in tensors.items()})
    rewrite_json(directory / "config.json", dtype="bfloat16")
    return directory
