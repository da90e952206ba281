"""BitFit and full fine-tuning: some or all of the model's own parameters train, nothing is added."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gelora_cli.config.schema import MethodConfig
from gelora_cli.methods.base import AdaptedModel, MethodContext, trainable
from gelora_cli.methods.updates.checks import count_problems, freeze_except, raise_on_mismatch
from gelora_cli.methods.updates.saved import save_own
from gelora_cli.models.block_map import bias_names


def attach_bitfit(context: MethodContext[MethodConfig]) -> AdaptedModel:
    """Let all bias terms of the backbone train, including those of its norms, and the head (Ben Zaken et al., 2022)."""
    return attach_subset(context, bias_names(context.model, context.model_map.head_modules))


def attach_full(context: MethodContext[MethodConfig]) -> AdaptedModel:
    """Let every parameter train."""
    attached = attach_subset(context, [name for name, _ in context.model.named_parameters()])
    if not context.keep_start:
        return attached
    names = [linear.name for block in context.model_map.blocks for linear in block.linears]
    weights = {name: context.model.get_parameter(f"{name}.weight") for name in names}  # (out, in) each
    # On the CPU, since a second copy of the model may not fit the device.
    start = {name: weight.detach().cpu().clone() for name, weight in weights.items()}
    return replace(
        attached, updates=lambda: {name: weight.detach().cpu() - start[name] for name, weight in weights.items()}
    )


def attach_subset(context: MethodContext[MethodConfig], names: Iterable[str]) -> AdaptedModel:
    """Let these parameters of the model and the head train; freeze all others.

    Raises:
        GeloraError: they are not as many as the plan says.
    """
    model = context.model
    freeze_except(model, context.model_map.head_modules, also=set(names))
    raise_on_mismatch(count_problems(model, context.plan, context.model_map))
    about = (context.plan.method, model.config.model_type)
    return AdaptedModel(
        model,
        context.plan,
        save=lambda directory: save_own(directory, *about, trainable(model), {}, 1.0),
        adds_tensors=False,
    )
