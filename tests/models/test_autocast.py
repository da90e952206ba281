"""Every kind of model computes under autocast to bfloat16, in which runs train where the hardware has it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from gelora_cli.models.deberta_biases import AutocastSelfAttention
from tests.helpers.method_cases import inputs_of
from tests.helpers.tiny import ALL_KINDS, make_tiny
from tests.helpers.variant_matrix import fresh


def run_in_bfloat16(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores: torch.Tensor = model(**inputs).logits.float()
    return scores


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_padded_batch_has_finite_scores_and_gradients(kind: str, tmp_path: Path) -> None:
    model = fresh(make_tiny(kind, tmp_path / "model")).model
    inputs = inputs_of(tmp_path / "model", kind)
    scores = run_in_bfloat16(model, inputs)
    torch.testing.assert_close(scores, model(**inputs).logits, rtol=0.05, atol=0.05)
    torch.autograd.backward(scores.sum())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_the_biases_of_deberta_train_under_autocast_and_stay_in_float32(tmp_path: Path) -> None:
    model = fresh(make_tiny("deberta", tmp_path / "model")).model
    attention = [module for module in model.modules() if isinstance(module, AutocastSelfAttention)]
    assert len(attention) == 3
    torch.autograd.backward(run_in_bfloat16(model, inputs_of(tmp_path / "model", "deberta")).sum())
    for module in attention:
        assert module.q_bias is module._parameters["q_bias"]
        assert module.v_bias.grad is not None
        assert module.v_bias.grad.dtype == torch.float32
        assert module.v_bias.grad.abs().max() > 0
