"""Tensors on disk while a signal is measured, such as pooled hidden states, so that a killed measurement resumes."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.core.files import file_sha256, write_atomic
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.run_files import STATES

if TYPE_CHECKING:
    import torch

FLUSH_SECONDS = 20.0
"""A kill loses at most the work of so many seconds, and one batch."""
SECONDS, THREADS = "seconds", "threads"


class StateStore:
    """States of whole batches by their numbers, in `DIR/states/BATCH-SHA256.safetensors`; each file is written once.

    A batch holds the same examples on any number of processes, so that one process can resume what two began. Each
    file says how many seconds had been spent when it was written, and with how many CPU threads. Another number of
    threads is logged as a warning, since it can change last digits.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory / STATES
        self.waiting: dict[str, torch.Tensor] = {}
        self.started = self.flushed = time.perf_counter()
        self.files: dict[int, tuple[Path, int]] = {}
        self.earlier_seconds = self.refresh()

    @property
    def seconds(self) -> float:
        """Return the seconds since this store was made, and of the earlier attempts whose states it holds."""
        return self.earlier_seconds + time.perf_counter() - self.started

    def load(self, batch: int) -> list[torch.Tensor] | None:
        """Return a batch's states, layer 0 first, each (n, D) float32; None if it was not measured."""
        from safetensors import safe_open

        if batch not in self.files:
            return None
        path, layers = self.files[batch]
        with safe_open(path, "pt") as file:
            return [file.get_tensor(f"{batch}/{layer}") for layer in range(layers)]

    def __contains__(self, batch: int) -> bool:
        """Return whether a batch's states are on disk."""
        return batch in self.files

    def load_layer(self, batch: int, layer: int) -> torch.Tensor:
        """Return one tensor of a batch that was measured."""
        from safetensors import safe_open

        path, _ = self.files[batch]
        with safe_open(path, "pt") as file:
            tensor: torch.Tensor = file.get_tensor(f"{batch}/{layer}")
        return tensor

    def add(self, batch: int, states: list[torch.Tensor]) -> None:
        """Keep a batch's states; they are on disk some seconds later.

        Raises:
            GeloraError: the disk is full or can't be written to.
        """
        # Contiguous, because safetensors refuses views.
        self.waiting |= {f"{batch}/{layer}": state.contiguous() for layer, state in enumerate(states)}
        if time.perf_counter() - self.flushed >= FLUSH_SECONDS:
            self.flush(batch)

    def flush(self, batch: int) -> None:
        """Write what is waiting to a file named after this batch."""
        from safetensors.torch import save

        if self.waiting:
            self.directory.mkdir(parents=True, exist_ok=True)
            content = save(self.waiting, {SECONDS: repr(self.seconds), THREADS: str(_threads())})
            digest = hashlib.sha256(content).hexdigest()
            path = self.directory / f"{batch:08d}-{digest}.safetensors"
            write_atomic(path, content)
            self.files |= _batches_in(self.waiting, path)
        self.waiting, self.flushed = {}, time.perf_counter()

    def discard(self, batch: int) -> None:
        """Remove the file of a batch, if there is one, and with it what else is in that file."""
        if batch not in self.files:
            return
        path, _ = self.files[batch]
        self.files = {number: entry for number, entry in self.files.items() if entry[0] != path}
        path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all files, once the measurement is complete."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def refresh(self) -> float:
        """Look for files that other processes wrote, and return the most seconds that one says; damage is logged."""
        from safetensors import safe_open

        known = {path for path, _ in self.files.values()}
        seconds = 0.0
        threads: set[str] = set()
        for path in sorted(self.directory.glob("*.safetensors")):
            if path in known:
                continue
            if not path.is_file() or file_sha256(path) != path.stem.partition("-")[2]:
                LOGGER.warning("%s is damaged, its batches are measured again", path)
                continue
            with safe_open(path, "pt") as file:
                self.files |= _batches_in(file.keys(), path)
                metadata = file.metadata() or {}
            # Each file says the seconds of all attempts until then, so the largest is the total.
            seconds = max(seconds, float(metadata.get(SECONDS, 0.0)))
            threads.add(metadata.get(THREADS, str(_threads())))  # older files don't say
        others = sorted(threads - {str(_threads())})
        if others:
            LOGGER.warning(
                "a measurement was begun with %s CPU threads, resumed with %d: numbers may differ in their last digits",
                " and ".join(others),
                _threads(),
            )
        return seconds


def _batches_in(names: Iterable[str], path: Path) -> dict[int, tuple[Path, int]]:
    """Return for each batch the file of its tensors, named BATCH/LAYER, and how many there are."""
    counts = Counter(int(name.partition("/")[0]) for name in names)
    return {batch: (path, count) for batch, count in counts.items()}


def _threads() -> int:
    """Return the CPU threads that this process computes with."""
    import torch

    return torch.get_num_threads()
