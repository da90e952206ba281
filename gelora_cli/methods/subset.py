"""BitFit and full fine-tuning: some or all of the model's own parameters train, nothing is added."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from gelora_cli.methods.base import Attached, AttachRequest, count_problems, freeze_but, refuse_differences, trainable
from gelora_cli.methods.saved import save_own
from gelora_cli.models.block_map import bias_names


def attach_bitfit(request: AttachRequest) -> Attached:
    """All bias terms of the backbone train, those of its norms too, and the head (Ben Zaken et al., 2022)."""
    return attach_subset(request, bias_names(request.model, request.model_map.head_modules))


def attach_full(request: AttachRequest) -> Attached:
    """Every parameter trains."""
    attached = attach_subset(request, [name for name, _ in request.model.named_parameters()])
    return replace(attached, updates=_moved(request)) if request.keep_start else attached


def _moved(request: AttachRequest) -> Callable[[], dict[str, torch.Tensor]]:
    """How far the weights of the blocks' linears are from where they are now; the copy is on the CPU."""
    names = [linear.name for block in request.model_map.blocks for linear in block.linears]
    weights = {name: request.model.get_parameter(f"{name}.weight") for name in names}
    start = {name: weight.detach().cpu().clone() for name, weight in weights.items()}
    return lambda: {name: weight.detach().cpu() - start[name] for name, weight in weights.items()}


def attach_subset(request: AttachRequest, names: Iterable[str]) -> Attached:
    """These parameters of the model train, and the head; all others are frozen.

    Raises:
        GeloraError: they are not as many as the plan says.
    """
    model = request.model
    freeze_but(model, request.model_map.head_modules, also=set(names))
    refuse_differences(count_problems(model, request.plan, request.model_map))
    about = (request.plan.method, model.config.model_type)
    return Attached(model, request.plan, save=lambda directory: save_own(directory, *about, trainable(model), {}, 1.0))
