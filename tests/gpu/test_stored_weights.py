"""Frozen weights in bfloat16 and in 4 bits on a GPU: what they compute beside the same weights in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gelora_cli.models.quantized import StoredLinear, linear_weight, store_weights
from tests.helpers.method_cases import inputs_of
from tests.helpers.tiny import make_tiny
from tests.helpers.variant_matrix import fresh, labels_of_sentences

pytestmark = pytest.mark.gpu

DEVICE = torch.device("cuda")


@pytest.mark.parametrize("dtype", ["bf16", "4bit"])
def test_stored_weights_compute_what_the_same_weights_in_float32_do(dtype: str, tmp_path: Path) -> None:
    if dtype == "4bit":
        pytest.importorskip("bitsandbytes")
    directory = make_tiny("qwen3", tmp_path)
    stored: Any = store_weights(fresh(directory), dtype, DEVICE).model
    dense: Any = fresh(directory).model
    for model in (stored, dense):
        model.to(DEVICE)
    for name, module in stored.named_modules():
        if isinstance(module, StoredLinear):
            assert module.weight.device.type == DEVICE.type
            dense.get_submodule(name).weight.data = linear_weight(module)
    dense.get_input_embeddings().weight.data = stored.get_input_embeddings().weight.float()
    inputs = {name: tensor.to(DEVICE) for name, tensor in inputs_of(directory, "qwen3").items()}
    results = []
    for model in (stored, dense):
        model.eval().requires_grad_(False)
        norm = model.model.layers[0].input_layernorm.weight.requires_grad_(True)
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
            logits = model(**inputs).logits
        nn.functional.cross_entropy(logits.float(), labels_of_sentences().to(DEVICE)).backward()  # type: ignore[no-untyped-call]
        results.append((logits.detach().float(), norm.grad))
    (computed, gradient), (wanted, expected) = results
    torch.testing.assert_close(computed, wanted, atol=0.02, rtol=0.02)
    torch.testing.assert_close(gradient, expected, atol=0.02 * float(expected.abs().max()), rtol=0.05)
