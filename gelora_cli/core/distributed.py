"""One or several processes of a training: accelerate's view of them, and collecting results from all.

Letters: n_i rows of process i.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.heavy_imports import import_heavy

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

Item = TypeVar("Item")
LONGEST_WAIT = timedelta(days=1)
"""How long a process waits for the others. What the main one does alone (a decomposition, a search, a lock that another
run holds) may take longer than the 10 minutes of NCCL and the 30 of gloo; a process that is gone is noticed by the
launcher, which ends the others."""


@dataclass(frozen=True)
class Device:
    """A device that stands in for an accelerator in a single process, without accelerate's global state."""

    device: torch.device
    process_index: int = 0
    num_processes: int = 1
    is_main_process: bool = True


def make_accelerator(precision: str) -> Accelerator:
    """Return accelerate's object for this process: its device, its rank, and bf16 autocast if `precision` is `bf16`.

    Raises:
        GeloraError: accelerate does not see all the processes that were started.
    """
    import_heavy("accelerate")
    from accelerate import Accelerator

    cpu = join_processes()
    accelerator = Accelerator(cpu=cpu, mixed_precision="bf16" if precision == "bf16" else "no")
    expected = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != expected:
        raise GeloraError(f"accelerate sees {accelerator.num_processes} processes, but {expected} were started")
    return accelerator


def join_processes() -> bool:
    """Join the other processes of the group, if there are any, and return whether they work on the CPU."""
    import torch
    from accelerate import PartialState

    cpu = not torch.cuda.is_available()
    if not cpu and os.environ.get("WORLD_SIZE", "1") != "1":
        # Before NCCL starts, which would otherwise put a context of every process on the first GPU.
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    PartialState(cpu=cpu, timeout=LONGEST_WAIT)
    return cpu


def gather_objects(accelerator: Accelerator | Device, item: Item) -> list[Item]:
    """Return the items of all processes, in order of rank, on every process."""
    from accelerate.utils import gather_object

    return list(gather_object([item])) if accelerator.num_processes > 1 else [item]


def gather_rows(accelerator: Accelerator | Device, tensor: torch.Tensor) -> torch.Tensor:
    """Return the rows of all processes, concatenated in order of rank, on every process: (n_0 + n_1 + ..., ...).

    Processes may hold different numbers of rows; the other dimensions must be equal.
    """
    import torch

    if isinstance(accelerator, Device) or accelerator.num_processes == 1:
        return tensor
    counts = accelerator.gather(torch.tensor([len(tensor)], device=tensor.device)).tolist()
    # The gather needs equal shapes, so every process pads to the largest count, and the padding is cut off afterwards.
    padded = tensor.new_zeros((max(counts), *tensor.shape[1:]))  # (max n_i, ...)
    padded[: len(tensor)] = tensor
    gathered = accelerator.gather(padded).reshape(len(counts), max(counts), *tensor.shape[1:])
    return torch.cat([share[:count] for share, count in zip(gathered, counts, strict=True)])


def sum_over_processes(accelerator: Accelerator | Device, tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum of the tensors of all processes, on every process; their shapes must be equal."""
    if isinstance(accelerator, Device) or accelerator.num_processes == 1:
        return tensor
    total: torch.Tensor = accelerator.reduce(tensor, "sum")
    return total


def leave_process_group() -> None:
    """Leave the group of processes, if there is one: a process that ends while a thread of the group runs aborts."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
