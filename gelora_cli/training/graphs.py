"""Forward and backward passes that a GPU replays as one CUDA graph, for `train.fast`.

A step of a small model on short texts is thousands of kernels of some microseconds each, which Python can't start as
fast as a GPU runs them. A graph starts all of them at once.

Letters: B rows of a batch, T tokens of its longest row, W the width that it is padded to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gelora_cli.core.devices import random_devices
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.messages import first_line
from gelora_cli.data.collate import Batch, collate

if TYPE_CHECKING:
    from gelora_cli.training.loop import Trainer

KNOWN = ("torch.", "transformers.", "peft.", "gelora_cli.", "accelerate.")
"""Libraries whose modules do the same in every step. What others do between their kernels, a graph would leave out."""
WARM_UPS = 2
"""Passes before one is captured: libraries allocate and choose kernels in the first."""


@dataclass(frozen=True)
class _Graph:
    """A captured pass: the graph, the batch that it reads, and the sum of the losses that it leaves, ()."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    total: torch.Tensor


class GraphedPasses:
    """The clipped gradients of whole batches, from one CUDA graph for each width.

    Rows are padded to `padded_width(T)`, so that few graphs serve all batches. Every step replays: the passes that warm
    up and capture leave no trace, in random states neither. So a training that resumes meets the same numbers as one
    that never stopped. Graphs end with the block of steps in which they were captured, since the weights that are cast
    for these steps do, too.

    Args:
        trainer: the training. Its parameters get their gradients from here.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.gradients = [torch.zeros_like(parameter) for parameter in trainer.parameters]
        self.graphs: dict[int, _Graph] = {}
        self.pool: Any = None
        self.refused = False

    def run(self, rows: NDArray[np.int64]) -> bool:
        """Set the clipped gradients of a global batch (B,) and add its losses; return False where no graph can."""
        trainer = self.trainer
        if self.refused or len(rows) != trainer.settings.batch_size:
            return False
        width = padded_width(int(trainer.split.lengths[rows].max()))
        on_cpu = collate(trainer.split, rows, trainer.pad_token_id, torch.device("cpu"), width)
        if width not in self.graphs:
            captured = self._captured(on_cpu)
            if captured is None:
                return False
            self.graphs[width] = captured
        found = self.graphs[width]
        _copy(on_cpu, found.batch)
        found.graph.replay()
        self._set_gradients()
        trainer.state.loss_sum += found.total
        return True

    def _set_gradients(self) -> None:
        for parameter, gradient in zip(self.trainer.parameters, self.gradients, strict=True):
            parameter.grad = gradient

    def _captured(self, on_cpu: Batch) -> _Graph | None:
        """Capture the pass of batches of this shape; None, with a line in the log, where it can't be captured."""
        batch = _copy_of(on_cpu, self.trainer.accelerator.device)
        graph = torch.cuda.CUDAGraph()
        try:
            # The draws of these passes are none of the training's.
            with torch.random.fork_rng(devices=random_devices()):
                self._warm_up(batch)
                with torch.cuda.graph(graph, pool=self.pool):
                    total = self._pass(batch)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # such as a model that reads a number of the GPU in its forward pass
            torch.cuda.synchronize()
            self.refused = True
            LOGGER.info("train.fast: steps are not captured as a CUDA graph: %s", first_line(error))
            for parameter in self.trainer.parameters:
                parameter.grad = None
            return None
        self.pool = self.pool or graph.pool()
        return _Graph(graph, batch, total)

    def _warm_up(self, batch: Batch) -> None:
        """Take the pass on another stream, as capturing needs it."""
        current, stream = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._pass(batch)
        current.wait_stream(stream)

    def _pass(self, batch: Batch) -> torch.Tensor:
        """Put the clipped gradients of the mean loss into `gradients`, and return the sum of the losses, ()."""
        trainer = self.trainer
        torch._foreach_zero_(self.gradients)
        self._set_gradients()
        total = trainer.row_losses(batch).sum()
        (total / len(batch)).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trainer.parameters, trainer.settings.max_grad_norm)
        return total.detach()


def padded_width(length: int) -> int:
    """Return the width W for rows of at most so many tokens: the next multiple of 8, above 64 of 16."""
    step = 8 if length <= 64 else 16
    return -(-length // step) * step


def can_capture(trainer: Trainer) -> bool:
    """Return whether every step is the same sequence of kernels: one process, whole batches, no hook of a method.

    A loss or module of one's own may read what changes from batch to batch on the CPU, which a graph would keep.
    """
    adapted, settings = trainer.adapted, trainer.settings
    own_hooks = adapted.extra_loss or adapted.after_step or adapted.restarted
    sources = {type(module).__module__ for module in adapted.model.modules()} | {settings.loss.__module__}
    return (
        trainer.accelerator.device.type == "cuda"
        and trainer.accelerator.num_processes == 1
        and settings.micro_batch_size is None
        and own_hooks is None
        and all(f"{source}.".startswith(KNOWN) for source in sources)
    )


@contextmanager
def graphed_passes(trainer: Trainer) -> Iterator[GraphedPasses | None]:
    """Give the passes as graphs, for the steps inside; None where they can't be captured."""
    if not can_capture(trainer):
        yield None
        return
    with ExitStack() as swaps:
        remember_positions(trainer.adapted.model, swaps)
        passes = GraphedPasses(trainer)
        yield passes
        passes.graphs.clear()


def remember_positions(model: nn.Module, swaps: ExitStack) -> None:
    """Have DeBERTa compute its relative positions once for each T, until `swaps` ends.

    They depend on T alone. On the way a number is copied to the GPU, which can't be captured.
    """
    for module in model.modules():
        encoder: Any = module
        if hasattr(encoder, "get_rel_pos"):
            swaps.callback(delattr, encoder, "get_rel_pos")
            encoder.get_rel_pos = _remembered(encoder.get_rel_pos)


def _remembered(positions: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[int, Any] = {}

    def remembered(hidden_states: torch.Tensor, query_states: Any = None, relative_pos: Any = None) -> Any:
        if query_states is not None or relative_pos is not None:
            return positions(hidden_states, query_states, relative_pos)
        length = hidden_states.shape[-2]
        if length not in known:
            known[length] = positions(hidden_states)
        return known[length]

    return remembered


def _copy_of(batch: Batch, device: torch.device) -> Batch:
    """Return a copy of a batch on a device."""
    assert batch.labels is not None
    inputs = {name: tensor.to(device) for name, tensor in batch.inputs.items()}
    return Batch(inputs, batch.labels.to(device), batch.rows)


def _copy(source: Batch, target: Batch) -> None:
    """Copy the tensors of a batch on the CPU into those of one on the GPU."""
    assert source.labels is not None and target.labels is not None
    for name, tensor in source.inputs.items():
        target.inputs[name].copy_(tensor, non_blocking=True)
    target.labels.copy_(source.labels, non_blocking=True)
