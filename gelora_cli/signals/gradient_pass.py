"""One pass that sums the gradients of linear weights over groups of batches; importing this file imports no torch.

Letters: B rows of a global batch, n batches, n_k batches of group k.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gelora_cli.core.distributed import gather_objects, sum_over_processes
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.progress import log_through_progress, progress
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.data.batches import own_parts
from gelora_cli.models.modes import evaluating
from gelora_cli.signals.base import SignalContext
from gelora_cli.signals.weight_gradients import WeightGradients
from gelora_cli.tasks.losses import BatchLoss

if TYPE_CHECKING:
    import torch
    from torch import nn

    from gelora_cli.data.encoding import EncodedSplit

GB = 1e9
SMALL_ROOM = GB
"""Bytes of sums below which nothing is said of them."""
GROUPS = 10
"""Groups of batches, each of which the jackknife leaves out once: batch b is in group b mod 10."""


class GradientPass:
    """Sums over the batches of each group, on disk, of the gradients of linear weights and of their squares.

    With the global batch R the gradient of a weight W is that of the loss as training computes it,

        g_b = d/dW 1 / divisor(R) * sum over rows r in R of loss(r),

    whatever the number of processes: each process takes its rows of R, and gradients are summed over the processes
    before anything is squared. A process keeps the sums of its share of the linear layers alone. A gradient is taken
    out of backward as soon as it is there, so that all processes together hold one copy of the sums, and each beside
    it the gradients of a few layers. Sums of a complete group go to the store, from which a killed measurement resumes.

    In bytes, with P weights in all linears and N processes: beside model and activations of one micro-batch the device
    holds the gradients of one block and two arrays of its largest linear, all in float32. The sums are `4 P / N` more,
    in the memory of the CPU where weights are stored in another type than float32 (`WeightGradients`), and else on the
    device. On disk there are `40 P` until the signal is measured.

    Args:
        context: the model and what surrounds it.
        split: the rows with their labels.
        names: the linear layers, each with a weight of its own.
    """

    def __init__(self, context: SignalContext, split: EncodedSplit, names: Sequence[str]) -> None:
        self.context, self.split, self.names = context, split, names
        self.gradients = WeightGradients(context.model, names)
        kind = TASK_KINDS.get(context.task.kind)
        self.loss = context.loss or BatchLoss(kind, kind.loss)
        accelerator = context.accelerator
        self.share = names[accelerator.process_index :: accelerator.num_processes]
        self._sums: dict[str, torch.Tensor] = {}
        self._squares: dict[str, list[torch.Tensor]] = {}
        self._arrived: set[str] = set()
        self._waiting: list[str] = []

    def run(self, batches: Sequence[NDArray[np.int64]]) -> None:
        """Measure every group of global batches, each given by its rows (B,), that the store does not hold.

        The model is left as it was: parameters, gradients, what requires them, and training or evaluation mode.

        Raises:
            GeloraError: a gradient is not finite.
        """
        groups = self._missing_groups()
        rows = 0
        accelerator = self.context.accelerator
        if groups and accelerator.is_main_process:
            self._announce_room(len(groups))
        bar = progress(len(batches), "batches", "gradients", enabled=accelerator.is_main_process)
        with (
            measuring(self.context.model, self.gradients.weights, self.context.head()),
            self.gradients.reported(self._on_complete),
            log_through_progress(),
            bar,
        ):
            for group in range(GROUPS):
                for number in range(group, len(batches), GROUPS):
                    if group in groups:
                        rows += self._add_batch(batches[number])
                        self._check_finite(number)
                    bar.update(1)
                if group in groups:
                    self._write(group)
        total = sum(map(len, batches))
        for process, pid, count in gather_objects(accelerator, (accelerator.process_index, os.getpid(), rows)):
            LOGGER.info("gradients: process %d (pid %d) measured %d of %d examples", process, pid, count, total)

    def _announce_room(self, groups: int) -> None:
        """Log what the sums take, where it is much, and warn if the disk has no room for those of so many groups."""
        sums = 4 * sum(self.gradients.size(name) for name in self.names)  # bytes of one group's sums
        if sums < SMALL_ROOM:
            return
        memory, needed = sums / self.context.accelerator.num_processes / GB, groups * sums / GB
        where = "of the CPU" if self.gradients.stored else "of the device"
        LOGGER.info(
            "gradients: sums take %.1f GB in the memory %s of each process, and %.1f GB on disk until all are there",
            memory,
            where,
            needed,
        )
        directory = self.context.store.directory
        existing = next(parent for parent in (directory, *directory.absolute().parents) if parent.exists())
        free = shutil.disk_usage(existing).free / GB
        if free < needed:
            LOGGER.warning("gradients: only %.1f GB are free in %s; take a runs_dir on another disk", free, existing)

    def group_sums(self, name: str, group: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the store holds of a linear layer of this process's share.

        Returns:
            The sum over the group's batches of g_b, (out, in) float32, and for each batch the sums over parameters of
            g_b^2 and of (W g_b)^2, (n_k, 2) float64.
        """
        sums = self.context.store.load(self._number(group, name))
        assert sums is not None
        gradient, squares = sums
        return gradient.to(self.context.accelerator.device), squares

    def _number(self, group: int, name: str) -> int:
        return group * len(self.names) + self.names.index(name)

    def _missing_groups(self) -> set[int]:
        """Return the groups of which the store lacks a linear layer, the same in every process."""
        store = self.context.store
        missing: set[int] = set()
        for group in range(GROUPS):
            if not all(self._number(group, name) in store for name in self.names):
                missing.add(group)
        return set().union(*gather_objects(self.context.accelerator, missing))

    def _add_batch(self, rows: NDArray[np.int64]) -> int:
        """Add a global batch (B,) to the sums, and return how many of its rows this process took."""
        from gelora_cli.data.collate import collate

        context = self.context
        process, processes = context.accelerator.process_index, context.accelerator.num_processes
        parts = local_parts(rows, process, processes, context.profile.batch_size)
        self._arrived, self._waiting = set(), list(self.names)
        for index, (part, counts) in enumerate(parts):
            batch = collate(self.split, part, context.pad_token_id, context.accelerator.device)
            losses = self.loss(context.model, batch)  # (B of the part,)
            # (), its share of the mean over the global batch
            loss = losses.sum() * (counts / self.split.loss_divisor(rows))
            self.gradients.backward(loss, is_last=index == len(parts) - 1)
        while self._waiting:  # linear layers that the loss does not depend on
            self._take(self._waiting.pop())
        return sum(len(part) for part, counts in parts if counts)

    def _on_complete(self, name: str) -> None:
        """Take the gradients that are complete while backward goes on."""
        self._arrived.add(name)
        # In one fixed order, last layer first: processes that summed different layers would wait for each other.
        while self._waiting and self._waiting[-1] in self._arrived:
            self._take(self._waiting.pop())

    def _take(self, name: str) -> None:
        """Add the gradient of one linear layer to the sums of the process in whose share it is, and free it."""
        import torch

        gradient = sum_over_processes(self.context.accelerator, self.gradients.take(name))  # (out, in)
        if name not in self.share:
            return
        weighted = self.gradients.weight(name) * gradient  # (out, in)
        norms = [torch.linalg.vector_norm(values, dtype=torch.float64) for values in (gradient, weighted)]
        self._squares.setdefault(name, []).append(torch.stack(norms) ** 2)  # (2,)
        if name in self.gradients.stored:  # on the device one copy of all sums would be as large as the model
            gradient = gradient.cpu()
        if name in self._sums:
            self._sums[name] += gradient
        else:
            self._sums[name] = gradient

    def _check_finite(self, number: int) -> None:
        """Refuse a gradient of the last batch that holds NaN or infinite values."""
        import torch

        if not self.share:
            return
        squares = torch.stack([self._squares[name][-1].sum() for name in self.share]).tolist()
        for name, value in zip(self.share, squares, strict=True):
            if not math.isfinite(value):
                raise GeloraError(
                    f"signal gradients: the gradient of {name} on batch {number + 1} is {value}; finite ones are "
                    "accepted. Check labels and texts of the training rows, or take a method that reads no gradients"
                )

    def _write(self, group: int) -> None:
        """Put the sums of a group on disk, block by block, and forget them."""
        import torch

        store = self.context.store
        for block in self.context.model_map.blocks:
            held = [linear.name for linear in block.linears if linear.name in self._sums]
            for name in held:
                squares = torch.stack(self._squares.pop(name))  # (n_k, 2)
                store.add(self._number(group, name), [self._sums.pop(name).cpu(), squares.cpu()])
            if held:
                store.flush(self._number(group, held[-1]))


def local_parts(
    rows: NDArray[np.int64], process: int, processes: int, size: int
) -> list[tuple[NDArray[np.int64], bool]]:
    """Return the parts of a global batch (B,) that a process measures, of `size` rows or less, and whether each counts.

    Every process must take part in the sums. One without a row borrows one that does not count.
    """
    return [(part, True) for part in own_parts(rows, process, processes, size)] or [(rows[:1], False)]


@contextmanager
def measuring(
    model: nn.Module, weights: Mapping[str, nn.Parameter], head: Mapping[str, torch.Tensor]
) -> Iterator[None]:
    """Put the model in evaluation mode, with this head and gradients of these weights alone; restore it afterwards."""
    import torch

    parameters = dict(model.named_parameters())
    required = {name: parameter.requires_grad for name, parameter in parameters.items()}
    replaced = {name: parameters[name].detach().clone() for name in head}
    try:
        model.requires_grad_(False)
        for weight in weights.values():
            weight.requires_grad_(True)
        _set_values(parameters, head)
        with evaluating(model), torch.enable_grad():
            yield
    finally:
        _set_values(parameters, replaced)
        for name, parameter in parameters.items():
            parameter.requires_grad_(required[name])
            parameter.grad = None


def _set_values(parameters: Mapping[str, nn.Parameter], values: Mapping[str, torch.Tensor]) -> None:
    import torch

    with torch.no_grad():
        for name, value in values.items():
            parameters[name].copy_(value)
