"""The mean gradient of linear weights over the first rows that a training sees, before anything is attached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from numpy.typing import NDArray
from torch import nn

from gelora_cli.core.distributed import sum_over_processes
from gelora_cli.data.batches import epoch_batches, own_parts
from gelora_cli.data.collate import collate
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.signals.gradient_pass import measuring
from gelora_cli.training.settings import TrainSettings

if TYPE_CHECKING:
    import numpy as np
    from accelerate import Accelerator

    from gelora_cli.core.distributed import Device


def mean_gradients(
    model: nn.Module,
    split: EncodedSplit,
    settings: TrainSettings,
    names: Sequence[str],
    examples: int,
    *,
    pad_token_id: int,
    accelerator: Accelerator | Device,
) -> dict[str, torch.Tensor]:
    """Return the gradient of the mean loss over the first rows of a training, of every named linear's weight.

    The rows are those of the first global batches of the first epoch, as many batches as hold `examples` rows, or all.
    Each process takes its rows of every batch, and gradients are summed over the processes, so that any number of them
    gives the numbers of one, up to rounding. The model is in evaluation mode, without dropout, and is left as it was:
    parameters, gradients, what requires them, and mode. No random number is drawn.

    Args:
        model: with its head, before any adapter, on the device of this process.
        split: the training rows, with labels.
        settings: batch sizes, seed and loss of the training.
        names: the linears.
        examples: how many rows to use at least.
        pad_token_id: the token that pads shorter rows.
        accelerator: this process among the others; all of them must call this.

    Returns:
        A gradient (out, in) float32 by name, the same in every process.
    """
    batches = first_batches(split, settings, examples)
    divisor = sum(split.loss_divisor(batch) for batch in batches)
    weights = {name: model.get_parameter(f"{name}.weight") for name in names}
    gradients: dict[str, torch.Tensor] = {}
    with measuring(model, weights, {}):
        for batch in batches:
            process, processes = accelerator.process_index, accelerator.num_processes
            for rows in own_parts(batch, process, processes, settings.micro_batch_size):
                part = collate(split, rows, pad_token_id, accelerator.device)
                losses = settings.loss(model, part)  # (B of the part,)
                (losses.sum() / divisor).backward()  # type: ignore[no-untyped-call]
        for name, weight in weights.items():
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            gradients[name] = sum_over_processes(accelerator, gradient.detach().float())
    return gradients


def first_batches(split: EncodedSplit, settings: TrainSettings, examples: int) -> list[NDArray[np.int64]]:
    """Return the first global batches of the first epoch, as many as hold so many rows; all if there are fewer."""
    batches = epoch_batches(split.lengths, settings.batch_size, settings.seed, 1)
    taken = 0
    for count, batch in enumerate(batches, start=1):
        taken += len(batch)
        if taken >= examples:
            return batches[:count]
    return batches
