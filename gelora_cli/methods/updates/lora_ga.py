"""LoRA-GA (Wang, Yu and Li, arXiv 2407.05000): A and B start as singular vectors of each weight's gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from gelora_cli.config.schema import PlannedLoraConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.updates.moved_lora import Start, attach_moved_lora

GRADIENT_EXAMPLES = 128
"""Rows whose mean gradient is decomposed: as many as in 64 batches of 2, the defaults of the published code."""
GAMMA = 16
"""`stable_gamma` of the published code and of PEFT."""


def attach_lora_ga(context: MethodContext[PlannedLoraConfig]) -> AdaptedModel:
    """Add LoRA that starts from the singular vectors of the gradient of every planned weight.

    The gradient is the mean over the first rows that training will see, in evaluation mode and float32. The rows
    follow from the seed of the run, and nothing is drawn: the decomposition is complete, not randomized.

    Raises:
        GeloraError: a gradient is zero or not finite, or PEFT did not do what the plan says.
    """
    ranks = context.plan.rank_pattern
    gradients = context.gradients([*ranks], GRADIENT_EXAMPLES)
    _check_gradients(gradients)

    def decompose() -> dict[str, Start]:
        return {name: gradient_start(name, gradients[name], rank) for name, rank in ranks.items()}

    # The main process alone decomposes: the last digits may differ from one device to another.
    return attach_moved_lora(context, context.once(decompose))


def gradient_start(name: str, gradient: torch.Tensor, rank: int) -> Start:
    """Return A0 from the first r right-singular vectors of a gradient, and B0 from the next r left-singular ones.

    With `G = U diag(s) V^T` and c = out^(1/4) / gamma^(1/2):

        A0 = c V[:, :r]^T,    B0 = c U[:, r:2r]

    This is the published code's (`direction="ArB2r"`, `scale="stable"`), whatever the scaling. PEFT 0.21 multiplies
    B0 by the singular values and A0 by nothing, which leaves B0 near zero. Ours: where 2r passes the smaller side, B0
    takes the last r; the sign of a vector is that which makes its largest entry positive, since a decomposition may
    give either, and the two vectors of a unit of rank are of different pairs.

    Args:
        name: of the linear, for a warning where the gradient has fewer directions than are taken.
        gradient: (out, in), float32.
        rank: r, at most the smaller side.

    Returns:
        A0 (r, in) and B0 (out, r), on the CPU.
    """
    left, values, right = torch.linalg.svd(gradient, full_matrices=False)  # (out, k), (k,), (k, in)
    size = len(values)
    needed = min(2 * rank, size)
    smallest = float(values[0]) * max(gradient.shape) * torch.finfo(gradient.dtype).eps  # above rounding
    if (directions := int((values > smallest).sum())) < needed:
        LOGGER.warning(
            "lora_ga: the gradient of %s has %d directions, and %d are taken: the others are arbitrary. More training "
            "rows or a smaller budget avoid that",
            name,
            directions,
            needed,
        )
    scale = gradient.shape[0] ** 0.25 / math.sqrt(GAMMA)
    second = needed - rank  # r, or fewer where 2r passes the smaller side
    rows = _with_sign(right[:rank])  # (r, in)
    columns = _with_sign(left[:, second:needed].T).T  # (out, r)
    return Start((rows * scale).cpu(), (columns * scale).contiguous().cpu())


def _with_sign(vectors: torch.Tensor) -> torch.Tensor:
    """Return the vectors (r, d), each with the sign that makes its largest entry positive."""
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))  # (r, 1)
    return vectors * torch.where(largest < 0, -1.0, 1.0)


def _check_gradients(gradients: Mapping[str, torch.Tensor]) -> None:
    """Refuse gradients that give no direction.

    Raises:
        GeloraError: naming the first linear whose gradient is zero or not finite.
    """
    names = list(gradients)
    norms = torch.stack([torch.linalg.vector_norm(gradients[name]) for name in names]).tolist()
    for name, norm in zip(names, norms, strict=True):
        if not math.isfinite(norm) or norm == 0:
            raise GeloraError(
                f"method.variant=lora_ga: the gradient of {name} has the norm {norm} on the first training rows; a "
                "finite one above 0 is needed, since A and B start from its directions. Check labels and texts of "
                "these rows, or take method.variant=lora"
            )
