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
from gelora_cli.data.encoding import EncodedSplit

if TYPE_CHECKING:
    from gelora_cli.training.loop import Trainer

KNOWN = ("torch.", "transformers.", "peft.", "gelora_cli.", "accelerate.")
"""Libraries whose modules do the same in every step. What others do between their kernels, a graph would leave out."""


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
    that never stopped.

    Args:
        trainer: the training. Its parameters get their gradients from here.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.longest = int(trainer.split.lengths.max())
        self.gradients = [torch.zeros_like(parameter) for parameter in trainer.parameters]
        self.graphs: dict[int, _Graph] = {}
        self.positions: dict[tuple[int, int], Any] = {}
        self.addresses: list[int] = []
        self.pool: Any = None
        self.refused: set[int] = set()  # widths

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Have the model ready for passes inside, and as it was afterwards."""
        model = self.trainer.adapted.model
        # A graph reads the weights where they lay when it was captured.
        addresses = [parameter.data_ptr() for parameter in model.parameters()]
        if addresses != self.addresses:
            self.graphs.clear()
            self.addresses = addresses
        with ExitStack() as swaps:
            remember_positions(model, self.positions, swaps)
            yield

    def run(self, rows: NDArray[np.int64]) -> bool:
        """Set the clipped gradients of a global batch (B,) and add its losses; return False where no graph can."""
        trainer = self.trainer
        # No wider than the longest row of all, which the model is known to take.
        width = min(padded_width(int(trainer.split.lengths[rows].max())), self.longest)
        # Each width for itself: a resumed training meets the widths in another order.
        if width in self.refused or len(rows) != trainer.settings.batch_size:
            return False
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
            self.refused.add(batch.inputs["input_ids"].shape[1])
            LOGGER.info("train.fast: steps of this width are not captured as a CUDA graph: %s", first_line(error))
            for parameter in self.trainer.parameters:
                parameter.grad = None
            return None
        self.pool = self.pool or graph.pool()
        return _Graph(graph, batch, total)

    def _warm_up(self, batch: Batch) -> None:
        """Take the pass once, on another stream: libraries allocate and choose kernels in the first."""
        current, stream = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
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

    Rows that weigh by their tokens would need another divisor in every step. A loss or module of one's own may read
    what changes from batch to batch on the CPU, which a graph would keep.
    """
    adapted, settings = trainer.adapted, trainer.settings
    own_hooks = adapted.extra_loss or adapted.after_step or adapted.restarted
    sources = {type(module).__module__ for module in adapted.model.modules()} | {settings.loss.of_rows.__module__}
    return (
        trainer.accelerator.device.type == "cuda"
        and trainer.accelerator.num_processes == 1
        and settings.micro_batch_size is None
        and own_hooks is None
        and type(trainer.split).loss_divisor is EncodedSplit.loss_divisor
        and all(f"{source}.".startswith(KNOWN) for source in sources)
    )


def remember_positions(model: nn.Module, known: dict[tuple[int, int], Any], swaps: ExitStack) -> None:
    """Have DeBERTa compute its relative positions once for each T, until `swaps` ends.

    They depend on T alone. On the way a number is copied to the GPU, which can't be captured.

    Args:
        model: DeBERTa, or a model without such positions, which stays as it is.
        known: the positions by module and T, which outlive `swaps`.
        swaps: puts the model's own function back.
    """
    for module in model.modules():
        encoder: Any = module
        if hasattr(encoder, "get_rel_pos"):
            swaps.callback(delattr, encoder, "get_rel_pos")
            encoder.get_rel_pos = _remembered(encoder.get_rel_pos, known, id(encoder))


def _remembered(positions: Callable[..., Any], known: dict[tuple[int, int], Any], owner: int) -> Callable[..., Any]:
    def remembered(hidden_states: torch.Tensor, query_states: Any = None, relative_pos: Any = None) -> Any:
        if query_states is not None or relative_pos is not None:
            return positions(hidden_states, query_states, relative_pos)
        key = owner, hidden_states.shape[-2]
        if key not in known:
            known[key] = positions(hidden_states)
        return known[key]

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
