"""PiSSA (Meng et al., arXiv 2404.02948): A and B start as the principal part of each weight."""

from __future__ import annotations

import math

import torch

from gelora_cli.config.schema import PlannedLoraConfig
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.updates.moved_lora import Start, attach_moved_lora


def attach_pissa(context: MethodContext[PlannedLoraConfig]) -> AdaptedModel:
    """Add LoRA that starts from the principal part of every planned weight. Nothing is drawn but the head.

    Raises:
        GeloraError: PEFT did not do what the plan says.
    """
    scalings = context.plan.scaling_pattern

    def decompose() -> dict[str, Start]:
        starts: dict[str, Start] = {}
        for name, rank in context.plan.rank_pattern.items():
            weight = context.model.get_parameter(f"{name}.weight")
            starts[name] = principal_start(weight.detach(), rank, scalings[name])
        return starts

    # The main process alone decomposes: the last digits may differ from one device to another.
    return attach_moved_lora(context, context.once(decompose))


def principal_start(weight: torch.Tensor, rank: int, scaling: float) -> Start:
    """Return A0 and B0 whose product, times the scaling, is the best approximation of a weight at this rank.

    With `W = U diag(s) V^T` (the paper's abstract; the formula, and where the scaling goes, are those of PEFT's code):

        A0 = diag(sqrt(s[:r] / scaling)) V[:, :r]^T,    B0 = U[:, :r] diag(sqrt(s[:r] / scaling))

    Args:
        weight: (out, in); decomposed in float32 on its device.
        rank: r, at most the smaller side.
        scaling: `alpha / r` of this linear.

    Returns:
        A0 (r, in) and B0 (out, r), on the CPU.
    """
    left, values, right = torch.linalg.svd(weight.float(), full_matrices=False)  # (out, k), (k,), (k, in)
    roots = values[:rank].sqrt() / math.sqrt(scaling)  # (r,)
    return Start((roots[:, None] * right[:rank]).cpu(), (left[:, :rank] * roots).cpu())
