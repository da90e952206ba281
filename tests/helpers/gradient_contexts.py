"""What the signal gradients measures of tiny models on a few labelled rows, and the same numbers written out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gelora_cli.config.complete import complete
from gelora_cli.core.artifacts.signals import GradientNumbers
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.data.collate import collate
from gelora_cli.pipeline import signal_stage
from gelora_cli.pipeline.inputs import resolve_inputs
from gelora_cli.pipeline.session import open_quiet_session
from gelora_cli.signals.base import SignalContext
from gelora_cli.tasks.losses import BatchLoss
from tests.helpers.composed import composed


def labelled_context(place: Path, *overrides: str) -> SignalContext:
    """Return the context of a signal in the session of a run with these overrides; its states go below `place`."""
    config = composed("method=lora", "budget=rank:1", "precision=float32", f"runs_dir={place}", *overrides)
    return signal_stage.signal_context(open_quiet_session(resolve_inputs(complete(config))), place)


def batch_gradients(context: SignalContext, batches: Sequence[NDArray[np.int64]]) -> list[dict[str, torch.Tensor]]:
    """Return for each batch the gradient of its mean loss by linear layer, (out, in) float64."""
    names = [linear.name for block in context.model_map.blocks for linear in block.linears]
    weights = [context.model.get_parameter(f"{name}.weight") for name in names]
    split, kind = context.examples(), TASK_KINDS.get(context.task.kind)
    row_losses = context.loss or BatchLoss(kind, kind.loss)
    gradients = []
    for rows in batches:
        batch = collate(split, rows, context.pad_token_id, torch.device("cpu"))
        loss = row_losses(context.model, batch).mean()
        values = torch.autograd.grad(loss, weights)
        gradients.append({name: value.double() for name, value in zip(names, values, strict=True)})
    return gradients


def direct_numbers(weight: torch.Tensor, gradients: Sequence[torch.Tensor]) -> GradientNumbers:
    """Return the formulas of `GradientNumbers` as they stand there, from every batch's gradient (out, in)."""
    exact = weight.detach().double()
    stacked = torch.stack(list(gradients))  # (n, out, in)
    mean = stacked.mean(0)  # (out, in)
    values = np.linalg.svd(mean.numpy(), compute_uv=False)
    shares = values / values.sum()
    return GradientNumbers(
        fisher=float((stacked**2).mean()),
        importance=float((exact * mean).abs().mean()),
        effective_rank=float(np.exp(-np.sum(shares * np.log(shares)))),
        sensitivity=float((exact**2 * (stacked**2).mean(0)).sum()),
    )
