"""A tiny model with its weights stored in another type, and the same model with the same weights in float32."""

from __future__ import annotations

from pathlib import Path

import torch

from gelora_cli.models.load import LoadedModel
from gelora_cli.models.quantized import StoredLinear, linear_weight, store_weights
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
