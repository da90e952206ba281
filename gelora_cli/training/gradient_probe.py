"""A look at the gradients before training: does everything that should train take part in the loss?"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from gelora_cli.core.devices import random_devices
from gelora_cli.data.collate import Batch
from gelora_cli.methods.base import AdaptedModel

if TYPE_CHECKING:
    from gelora_cli.tasks.losses import BatchLoss

PROBE_SEED = 0
"""Of the dropout that is drawn during the probe; it leaves no trace."""


def find_missing_gradients(
    adapted: AdaptedModel,
    batches: Iterable[Batch],
    *,
    loss: BatchLoss,
    may_be_zero: Callable[[str], bool],
    autocast: Callable[[], AbstractContextManager[None]],
) -> list[str]:
    """Return the names of the trainable parameters that no batch gives a gradient, in the order of the model.

    In a product `B A` with B = 0 the gradient of A is exactly zero. So the probe first gives parameters that start
    at zero small values (`AdaptedModel.probe_values`). The loss is the task's alone: a regularisation by the method
    would give a tensor a gradient although the model ignores it.

    A parameter is missing if its gradient is None, or exactly zero where it may not be.

    Afterwards the weights and the random states of torch, numpy and Python are bitwise what they were, and no parameter
    has a gradient.

    Args:
        adapted: the model as it is about to train.
        batches: small batches with labels. One after the other is looked at, until nothing is missing.
        loss: the task's loss of each row.
        may_be_zero: whether the parameter of this name may have a gradient that is exactly zero.
        autocast: the precision in which the model trains.
    """
    model, parameters = adapted.model, adapted.trainable()
    values = adapted.values_while_probed()
    saved = {name: parameters[name].detach().clone() for name in values}
    was_training = model.training
    missing = list(parameters)
    with _keep_random_states():
        torch.manual_seed(PROBE_SEED)
        try:
            _write(parameters, values)
            model.train()
            for batch in batches:
                with autocast():
                    total: torch.Tensor = loss(model, batch).sum()  # ()
                if total.requires_grad:
                    total.backward()  # type: ignore[no-untyped-call]  # gradients add up over the batches
                missing = [name for name in missing if _lacks_gradient(parameters[name], may_be_zero(name))]
                if not missing:
                    break
        finally:
            _write(parameters, saved)
            model.zero_grad(set_to_none=True)
            model.train(was_training)
    return missing


def _lacks_gradient(parameter: nn.Parameter, may_be_zero: bool) -> bool:
    """Return whether a parameter has no gradient, or one that is exactly zero where that is not legitimate."""
    if parameter.grad is None:
        return True
    return not may_be_zero and not parameter.grad.any()


@torch.no_grad()
def _write(parameters: Mapping[str, nn.Parameter], values: Mapping[str, torch.Tensor]) -> None:
    """Copy the values into the parameters of these names."""
    for name, value in values.items():
        parameters[name].copy_(value)


@contextmanager
def _keep_random_states() -> Iterator[None]:
    """Restore the random states of torch on all devices, of numpy and of Python at the end."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=random_devices()):
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
