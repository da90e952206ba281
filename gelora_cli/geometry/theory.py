"""Local dimensionality: the rank of the Fisher information matrix of a small model; tensors in, numbers out.

What the code rests on, and how well it is known. Of the paper (GeLoRA, arXiv 2412.09250) only the abstract, the titles
and what others write could be read:

- Definition 3.1: the local dimensionality d(phi) of a model at its parameters phi; that it is the rank of the Fisher
  information matrix is a third party's reading.
- Theorem 3.1, in the paper's words: "the intrinsic dimension idim(phi) is a lower bound to the local dimensionality
  d(phi)". The exact statement, with its conditions, is not known.
- The Fisher information matrix (Amari, "Natural gradient works efficiently in learning", Neural Computation 10, 1998)
  is taken by the model's own label distribution; with the observed labels it would be another matrix, the empirical
  one.

Letters: n examples, K outputs of the model for one of them, P parameters, u the spacing of float64 numbers at 1.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from gelora_cli.geometry.jacobians import rank_of

Outputs = Callable[[Tensor, Tensor], Tensor]
"""A model: parameters (P,) and one example to its outputs (K,), logits or means."""

FAMILIES = ("categorical", "gaussian")
CHUNK = 32


@dataclass(frozen=True)
class LocalDimensionality:
    """The rank d(phi) of the Fisher matrix, its eigenvalues (descending, float64), and the tolerance they are held to.

    There are `min(P, n * K)` eigenvalues; the others of the P are zero. `parameters` is P.
    """

    rank: int
    parameters: int
    eigenvalues: Tensor
    tolerance: float


def flat_model(module: nn.Module) -> tuple[Outputs, Tensor]:
    """Return a copy of the module as a function of all its parameters in one vector, and that vector (P,).

    The copy is in float64 and evaluation mode and takes a batch of examples. A parameter that it uses twice is in the
    vector once; buffers are constants.
    """
    frozen = copy.deepcopy(module).double().eval()
    names, tensors = zip(*frozen.named_parameters(), strict=True)
    sizes, shapes = [tensor.numel() for tensor in tensors], [tensor.shape for tensor in tensors]

    def outputs(params: Tensor, example: Tensor) -> Tensor:
        parts = [part.view(shape) for part, shape in zip(torch.split(params, sizes), shapes, strict=True)]
        values: Tensor = functional_call(frozen, dict(zip(names, parts, strict=True)), (example[None],))  # (1, K)
        return values[0]

    return outputs, torch.cat([tensor.detach().flatten() for tensor in tensors])


def local_dimensionality(
    outputs: Outputs, params: Tensor, inputs: Tensor, *, family: str = "categorical", chunk: int = CHUNK
) -> LocalDimensionality:
    """Return the rank of the Fisher matrix at `params`, over `inputs`.

    `F = (1/n) sum_x E_y[grad log p(y|x) grad log p(y|x)^T]`, y by the model's own p(y|x). F is `G^T G` with the factor
    G (n * K, P) of `fisher_rows`, so its eigenvalues are the squares of G's singular values, and those are computed:
    from the rows of G, or, as soon as there are more than 2 P of them, from the triangle R of their QR decomposition,
    `R^T R = G^T G`, which is never larger than (P, P). So memory is about 8 bytes times P times the smaller of n * K
    and 2 P + K * chunk (twice that while it is decomposed), and time grows with n * K * P times the smaller of n * K
    and P.

    Tolerance: a singular value counts above `max(n * K, P) * u` times the largest (`jacobians.numeric_rank` says why),
    so an eigenvalue above the square of it. From F itself nothing below `P * u` of the largest eigenvalue could be told
    from rounding: multiplying G by itself squares its condition, which in networks, whose Fisher spectra fall over many
    orders of magnitude, takes true directions for flat ones.

    The rank is that over the given examples: no larger than over their whole distribution, at most n (K - 1)
    (categorical) or n K (gaussian), and final once more examples don't raise it.

    Args:
        outputs: logits of the classes (`categorical`), or means of labels with variance 1 (`gaussian`, whose negative
            log-likelihood is the half-squared loss `0.5 |y - f|^2` up to a constant); computes in float64.
        params: (P,).
        inputs: (n, ...), one example a row; of any type.
        family: `categorical` or `gaussian`.
        chunk: how many examples are differentiated at once.

    Raises:
        ValueError: an unknown family, no examples, no vector of parameters, or gradients that are not finite.
    """
    _check(params, inputs, family)
    params = params.double()
    factor, rows = torch.zeros(0, len(params), dtype=torch.float64), 0  # (rows so far, P)
    for part in fisher_rows(outputs, params, inputs, family=family, chunk=chunk):
        factor, rows = torch.cat((factor, part)), rows + len(part)
        if len(factor) > 2 * len(params):
            factor = torch.linalg.qr(factor, mode="r").R  # (P, P), with the same singular values
    rank = rank_of(torch.linalg.svdvals(factor), max(rows, len(params)) * torch.finfo(torch.float64).eps)
    return LocalDimensionality(rank.rank, len(params), rank.singular_values.square(), rank.tolerance**2)


def fisher_matrix(outputs: Outputs, params: Tensor, inputs: Tensor, *, family: str = "categorical") -> Tensor:
    """Return the Fisher matrix (P, P), for the directions of its eigenvectors.

    Arguments and errors are those of `local_dimensionality`.
    """
    _check(params, inputs, family)
    parts = fisher_rows(outputs, params.double(), inputs, family=family)
    return torch.stack([part.T @ part for part in parts]).sum(0)


def fisher_rows(
    outputs: Outputs, params: Tensor, inputs: Tensor, *, family: str, chunk: int = CHUNK
) -> Iterator[Tensor]:
    """Yield the rows of G, `F = G^T G`, of `chunk` examples at a time: (K * chunk, P).

    With `J = d outputs / d params` (K, P) of one example, the row of class y is
    `sqrt(p_y / n) grad log p_y = sqrt(p_y / n) (J_y - sum_z p_z J_z)`; of a Gaussian the rows are `J / sqrt(n)`.
    """
    jacobian = vmap(jacrev(outputs), in_dims=(None, 0))
    for examples in torch.split(inputs, chunk):
        rows = jacobian(params, examples)  # (chunk, K, P)
        if family == "categorical":
            chances = vmap(outputs, in_dims=(None, 0))(params, examples).softmax(-1)[:, :, None]  # (chunk, K, 1)
            rows = chances.sqrt() * (rows - (chances * rows).sum(1, keepdim=True))
        if not bool(torch.isfinite(rows).all()):
            raise ValueError("the model's gradients are not finite at these parameters and examples")
        yield rows.flatten(0, 1) / len(inputs) ** 0.5  # (K * chunk, P); G^T G is a mean over all n examples


def neighbourhood(
    outputs: Outputs,
    params: Tensor,
    inputs: Tensor,
    *,
    radius: float,
    points: int,
    seed: int,
    family: str = "categorical",
) -> Tensor:
    """Return the label distributions of models near `params`, as points (points, n * K) that have an idim.

    Parameters are drawn uniformly from the cube `params +- radius`; a model becomes `2 sqrt(p(y|x))`, for every x and
    y, or of a Gaussian its means. The metric that Euclidean distance between such points induces on the parameters is
    n times the Fisher matrix, so the two notions of dimension speak of one geometry: wherever the rank of F is constant
    around `params` the points lie on a manifold of that dimension, and where it is not (a singular point) they need
    not.
    """
    _check(params, inputs, family)
    noise = torch.rand(points, len(params), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    near = params.double() + radius * (2 * noise - 1)  # (points, P)
    values = vmap(vmap(outputs, in_dims=(None, 0)), in_dims=(0, None))(near, inputs)  # (points, n, K)
    # The distance between points 2 sqrt(p) is, for near p, the Fisher-Rao distance between the distributions.
    return (2 * values.softmax(-1).sqrt() if family == "categorical" else values).flatten(1)


def _check(params: Tensor, inputs: Tensor, family: str) -> None:
    if family not in FAMILIES:
        raise ValueError(f"family {family!r} given; {' and '.join(FAMILIES)} are accepted")
    if params.ndim != 1 or not len(params) or not len(inputs):
        raise ValueError(
            f"parameters of shape {tuple(params.shape)} and {len(inputs)} examples given; a vector of at least one "
            "parameter and at least one example are needed"
        )
