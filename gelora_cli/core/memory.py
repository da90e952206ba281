"""How much memory was used, and what to do when there is not enough."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.core.errors import RunError
from gelora_cli.core.messages import first_line

if TYPE_CHECKING:
    import torch

LESS_MEMORY = (
    "Lower train.micro_batch_size (the global batch stays the same), train.eval_batch_size, profile.batch_size or "
    "task.max_length. Each of them starts another run, since it can change numbers. With more memory, or with "
    "train.gradient_checkpointing=true, which changes no number, the same command resumes from the last checkpoint."
)
SIGNS_OF_OOM = (
    *("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_cpu"),
    *("cublas_status_alloc_failed", "cudnn_status_alloc_failed"),
)
"""What the errors of torch's allocators and of CUDA's libraries say, in lower case; most have no class of their own."""


@contextlib.contextmanager
def translate_oom() -> Iterator[None]:
    """Turn a lack of memory into a message that says what to lower.

    Raises:
        RunError: a device or the system had no more memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error).lower() for sign in SIGNS_OF_OOM):
            raise
        raise RunError(f"out of memory: {first_line(error)}. {LESS_MEMORY}") from error


def begin_peak(device: torch.device) -> None:
    """Have `peak_bytes` count from now on, where that can be had: on a GPU, not of a process's resident set."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """Return the most memory held so far: what torch allocated on a GPU, or the resident set of a CPU process."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes on macOS, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def available_bytes() -> int | None:
    """Return the memory that is free where the work is done: on the GPU, or in this machine; None where unknown."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return None
    sizes = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(sizes["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in sizes else None
