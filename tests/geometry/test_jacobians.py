from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gelora_cli.geometry.jacobians import block_calls, block_jacobian, numeric_rank, sequence_jacobian, stable_rank
from tests.helpers.tiny import DECODERS, ENCODERS, KINDS

D, T = 8, 3


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (torch.eye(7), 7.0),
        (torch.diag(torch.tensor([2.0, 1.0, 1.0])), 1.5),
        (torch.outer(torch.arange(1.0, 6.0), torch.ones(3)), 1.0),
        (torch.zeros(3, 2), 0.0),
        (torch.zeros(0, 2), 0.0),
        (1e200 * torch.eye(2, dtype=torch.float64), 2.0),
        (torch.eye(3, dtype=torch.float16), 3.0),
    ],
)
def test_stable_rank_of_known_matrices(matrix: Tensor, expected: float) -> None:
    assert stable_rank(matrix) == pytest.approx(expected, rel=1e-6)
    assert numeric_rank(matrix).stable_rank == stable_rank(matrix)


@pytest.mark.parametrize("rank", [0, 1, 5, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numeric_rank_of_a_product(rank: int, dtype: torch.dtype) -> None:
    product = (draw(40, rank, seed=1) @ draw(rank, 20, seed=2)).to(dtype)
    assert numeric_rank(product).rank == rank


def test_what_was_computed_coarsely_needs_the_coarse_tolerance() -> None:
    rounded = (draw(40, 5, seed=1).float() @ draw(5, 20, seed=2).float()).double()
    assert numeric_rank(rounded).rank > 5
    assert numeric_rank(rounded, computed_in=torch.float32).rank == 5


@pytest.mark.parametrize("matrix", [torch.zeros(3), torch.tensor([[float("nan")]]), torch.eye(2, dtype=torch.cfloat)])
def test_no_matrix_of_finite_numbers_is_refused(matrix: Tensor) -> None:
    for function in (numeric_rank, stable_rank):
        with pytest.raises(ValueError, match="finite"):
            function(matrix)


def test_a_linear_block_has_its_weight_as_jacobian() -> None:
    block = nn.Linear(D, D).double().eval()
    hidden = draw(1, T, D)
    torch.testing.assert_close(block_jacobian(block, hidden, 1), block.weight.detach())
    whole = torch.kron(torch.eye(T, dtype=torch.float64), block.weight.detach())
    torch.testing.assert_close(sequence_jacobian(block, hidden), whole)


def test_a_low_rank_block_keeps_its_rank() -> None:
    block = nn.Sequential(nn.Linear(D, 3), nn.Tanh(), nn.Linear(3, D)).double().eval()
    assert numeric_rank(block_jacobian(block, draw(1, T, D), 0)).rank == 3
    assert numeric_rank(sequence_jacobian(block, draw(1, T, D))).rank == 3 * T


def test_a_layer_norm_loses_its_mean_and_its_length() -> None:
    block = nn.LayerNorm(D, eps=0.0).double().eval()
    assert numeric_rank(block_jacobian(block, draw(1, T, D), 2)).rank == D - 2


@pytest.mark.parametrize("kind", KINDS)
def test_block_jacobians_of_every_kind(kind: str, tiny_models: dict[str, Path]) -> None:
    # A block that ends in a norm has rank T (D - 2), one that ends in a sum T D.
    block, call = second_block(kind, tiny_models[kind])
    whole = sequence_jacobian(block, call.hidden, *call.args, **call.kwargs)
    tokens, width = call.hidden.shape[1:]
    own = block_jacobian(block, call.hidden, 2, *call.args, **call.kwargs)
    torch.testing.assert_close(own, whole.view(tokens, width, tokens, width)[2, :, 2])
    step, tolerance = (1e-3, 1e-3) if kind in DECODERS else (1e-6, 1e-8)
    direction = draw(*call.hidden.shape)
    slope = differences(lambda h: first(block(h, *call.args, **call.kwargs)), call.hidden, step * direction) / step
    torch.testing.assert_close(whole @ direction.flatten(), slope.flatten(), rtol=tolerance, atol=tolerance)
    rank = numeric_rank(whole, computed_in=torch.float32 if kind in DECODERS else None).rank
    assert rank == tokens * (width - 2 * (kind in ENCODERS))


def second_block(kind: str, directory: Path) -> tuple[nn.Module, Any]:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(directory).double()
    blocks = model.layers if kind in DECODERS else model.encoder.layer
    ids = torch.tensor([[9, 12, 7, 30, 21]])
    calls = block_calls(model, blocks, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    assert len(calls) == len(blocks)
    torch.testing.assert_close(first(blocks[0](calls[0].hidden, *calls[0].args, **calls[0].kwargs)), calls[1].hidden)
    return blocks[1], calls[1]


def differences(function: Callable[[Tensor], Tensor], point: Tensor, step: Tensor) -> Tensor:
    with torch.no_grad():
        return (function(point + step) - function(point - step)) / 2


def first(output: Any) -> Tensor:
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found


def test_the_hidden_states_of_a_forward_pass_stay_as_they_are(tiny_models: dict[str, Path]) -> None:
    block, call = second_block("bert", tiny_models["bert"])
    before = call.hidden.clone()
    block_jacobian(block, call.hidden, 0, *call.args, **call.kwargs)
    assert torch.equal(call.hidden, before)
    assert not call.hidden.requires_grad


def test_wrong_states_tokens_and_modes_are_refused() -> None:
    block = nn.Linear(D, D).eval()
    with pytest.raises(ValueError, match="0 to 2"):
        block_jacobian(block, torch.zeros(1, T, D), T)
    for shape in ((T, D), (2, T, D)):
        with pytest.raises(ValueError, match=r"\(1, T, D\)"):
            sequence_jacobian(block, torch.zeros(*shape))
    with pytest.raises(ValueError, match="training"):
        block_jacobian(block.train(), torch.zeros(1, T, D), 0)
