"""Ranks of matrices, and the Jacobians of a transformer block at given hidden states: tensors in, tensors out.

Letters: T tokens, D the width of the hidden states, u the spacing of floating-point numbers at 1 (`eps`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

COPIES = 64
"""Equal sequences in the forward pass of a Jacobian, and so rows of it per backward pass."""
# A cache would be extended by every repeated call.
CACHE_ARGUMENTS = ("past_key_values", "past_key_value", "use_cache")


@dataclass(frozen=True)
class MatrixRank:
    """The singular values of a matrix (float64, descending) and how many of them are above `tolerance`."""

    singular_values: Tensor
    tolerance: float
    rank: int

    @property
    def stable_rank(self) -> float:
        """See the function of this name."""
        return _stable_rank(self.singular_values)


def numeric_rank(matrix: Tensor, *, computed_in: torch.dtype | None = None) -> MatrixRank:
    """Return how many singular values are above `max(rows, columns) * u * (largest singular value)`.

    A backward stable decomposition returns the singular values of a matrix that differs from the given one by a small
    multiple of u times the largest of them, and the entries are rounded to u, too: a true zero comes back below this
    tolerance (the customary one, as of numpy's `matrix_rank`). A true value below it can't be told from zero, so the
    numeric rank is a lower bound of the rank in exact arithmetic.

    u is that of the matrix's type, or of `computed_in` if its entries were computed in a coarser one: the RMS norms
    of Llama-like decoders work in float32 whatever they are given.

    Raises:
        ValueError: it is no matrix of real, finite numbers.
    """
    unit = torch.finfo(computed_in or (matrix.dtype if matrix.is_floating_point() else torch.float64)).eps
    return rank_of(_singular_values(matrix), max(matrix.shape, default=0) * unit)


def rank_of(singular_values: Tensor, tolerance: float) -> MatrixRank:
    """Return the rank by singular values (descending) that are known to `tolerance` times the largest."""
    absolute = tolerance * float(singular_values[0]) if len(singular_values) else 0.0
    return MatrixRank(singular_values, absolute, int((singular_values > absolute).sum()))


def stable_rank(matrix: Tensor) -> float:
    """Return the sum of the squared singular values over the largest squared, `|A|_F^2 / |A|_2^2`; 0 of a zero matrix.

    It is between 1 and the rank, needs no tolerance and moves little when the matrix does (Rudelson and Vershynin,
    "Sampling from large matrices", Journal of the ACM 54, 2007).

    Raises:
        ValueError: it is no matrix of real, finite numbers.
    """
    return _stable_rank(_singular_values(matrix))


def _singular_values(matrix: Tensor) -> Tensor:
    if matrix.ndim != 2 or matrix.is_complex() or not bool(torch.isfinite(matrix).all()):
        raise ValueError(f"a rank of shape {tuple(matrix.shape)}, {matrix.dtype}: a matrix of finite numbers is needed")
    # On the CPU in float64, whatever the device: its rounding is far below the tolerance of a float32 matrix.
    values: Tensor = torch.linalg.svdvals(matrix.detach().to("cpu", torch.float64))
    return values


def _stable_rank(values: Tensor) -> float:
    largest = float(values[0]) if len(values) else 0.0
    return float((values / largest).square().sum()) if largest else 0.0  # divided first: no square overflows


@dataclass(frozen=True)
class BlockCall:
    """What one block was called with in a forward pass: its hidden states (B, T, D) and the other arguments."""

    hidden: Tensor
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def block_calls(body: nn.Module, blocks: Sequence[nn.Module], inputs: Mapping[str, Tensor]) -> list[BlockCall]:
    """Return the calls of `blocks` while `body` reads `inputs`, in the order in which they run.

    A block that runs several times has several calls, however often it is among `blocks`.
    They can be repeated: a decoder's cache is left out, and `body` is put in evaluation mode, since with dropout a
    block is another function at every call.
    """
    calls: list[BlockCall] = []

    def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kwargs = {name: value for name, value in kwargs.items() if name not in CACHE_ARGUMENTS}
        hidden = args[0] if args else kwargs.pop("hidden_states")
        calls.append(BlockCall(hidden.detach(), tuple(args[1:]), kwargs))

    body.eval()
    with torch.no_grad(), ExitStack() as hooks:
        for block in dict.fromkeys(blocks):
            hooks.callback(block.register_forward_pre_hook(record, with_kwargs=True).remove)
        body(**inputs)
    return calls


def output_of(block: nn.Module, call: BlockCall) -> Tensor:
    """Call the block again and return its hidden states (B, T, D)."""
    return _first(block(call.hidden, *call.args, **call.kwargs))


def block_jacobian(block: nn.Module, hidden: Tensor, token: int, *args: object, **kwargs: object) -> Tensor:
    """Return the Jacobian (D, D) of a block's output at one token by its input there, all other inputs held.

    `J[j, k] = d out[0, token, j] / d hidden[0, token, k]`. One forward pass takes `COPIES` equal sequences; a backward
    pass then gives that many rows, each through another sequence.

    Args:
        block: a module in evaluation mode that takes hidden states first and returns them, alone or first of a tuple.
        hidden: (1, T, D); its type is that of the result.
        token: which token, from 0.
        args: the block's other arguments, as `BlockCall` has them, whatever the number of sequences.
        kwargs: its other arguments by name.

    Raises:
        ValueError: the block is in training mode, the hidden states have another shape, or there is no such token.
    """
    _check(block, hidden)
    if not 0 <= token < hidden.shape[1]:
        raise ValueError(f"token {token} given; the sequence has the tokens 0 to {hidden.shape[1] - 1}")
    with torch.enable_grad():
        sequences = hidden.detach().repeat(COPIES, 1, 1).requires_grad_(True)  # (COPIES, T, D)
        outputs = _first(block(sequences, *args, **kwargs))[:, token]  # (COPIES, D)
        rows = []
        unit = torch.eye(outputs.shape[1], dtype=outputs.dtype, device=outputs.device)
        for chosen in torch.split(unit, COPIES):
            partial = outputs[: len(chosen)]  # output j of sequence j
            (slopes,) = torch.autograd.grad(partial, sequences, chosen, retain_graph=True)  # (COPIES, T, D)
            rows.append(slopes[: len(chosen), token])  # (chosen, D)
    return torch.cat(rows)


def sequence_jacobian(block: nn.Module, hidden: Tensor, *args: object, **kwargs: object) -> Tensor:
    """Return the Jacobian (T * D, T * D) of a block's whole output by its whole input, tokens major.

    The arguments are those of `block_jacobian`.

    Raises:
        ValueError: the block is in training mode, or the hidden states have another shape.
    """
    _check(block, hidden)
    with torch.enable_grad():
        states = hidden[0].detach().clone().requires_grad_(True)  # (T, D)
        outputs = _first(block(states[None], *args, **kwargs))[0].flatten()  # (T * D,)
        # One backward pass per output: every kernel supports that, unlike batched gradients.
        rows = [torch.autograd.grad(output, states, retain_graph=True)[0].flatten() for output in outputs]
    return torch.stack(rows)


def _check(block: nn.Module, hidden: Tensor) -> None:
    if block.training:
        raise ValueError(
            "the block is in training mode, where dropout makes its Jacobian random: put it in evaluation mode"
        )
    if hidden.ndim != 3 or len(hidden) != 1:
        raise ValueError(f"hidden states of shape {tuple(hidden.shape)} given; (1, T, D) is needed")


def _first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output[0] if isinstance(output, tuple) else output
