"""Pooled hidden states on disk while a profile is measured, so that one that is interrupted goes on where it was."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.core.files import file_sha256, write_atomic
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.run_files import STATES

if TYPE_CHECKING:
    import torch

FLUSH_SECONDS = 20.0
SECONDS, THREADS = "seconds", "threads"


class StateStore:
    """States of whole batches by their numbers, in `DIR/states/BATCH-SHA256.safetensors`, each file written once.

    A batch holds the same examples on any number of processes, so what was measured by two serves one. Each file says
    how many seconds had been spent when it was written, and with how many CPU threads: another number is a warning,
    since it can change last digits.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory / STATES
        self.waiting: dict[str, torch.Tensor] = {}
        self.started = self.flushed = time.perf_counter()
        self.places, self.before = self._found()

    @property
    def seconds(self) -> float:
        """Those since this store was made, and those of the earlier tries whose states it found."""
        return self.before + time.perf_counter() - self.started

    def load(self, batch: int) -> list[torch.Tensor] | None:
        """The batch's pooled states, layer 0 first, each (n, D) float32; None where it was not measured."""
        from safetensors import safe_open

        if batch not in self.places:
            return None
        path, layers = self.places[batch]
        with safe_open(path, "pt") as file:
            return [file.get_tensor(f"{batch}/{layer}") for layer in range(layers)]

    def add(self, batch: int, states: list[torch.Tensor]) -> None:
        """Keep a batch's states; they are on disk some seconds later.

        Raises:
            GeloraError: the disk is full or can't be written to.
        """
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
            write_atomic(self.directory / f"{batch:08d}-{digest}.safetensors", content)
        self.waiting, self.flushed = {}, time.perf_counter()

    def clear(self) -> None:
        """Remove all files: the profile is whole."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _found(self) -> tuple[dict[int, tuple[Path, int]], float]:
        """Batch -> the file that holds it and its number of layers, and the seconds; the log names a damaged file."""
        from safetensors import safe_open

        places: dict[int, tuple[Path, int]] = {}
        seconds = 0.0
        threads: set[str] = set()
        for path in sorted(self.directory.glob("*.safetensors")):
            if not path.is_file() or file_sha256(path) != path.stem.partition("-")[2]:
                LOGGER.warning("%s is damaged, its batches are measured again", path)
                continue
            with safe_open(path, "pt") as file:
                numbers = [int(name.split("/")[0]) for name in file.keys()]  # noqa: SIM118 - not a mapping
                metadata = file.metadata() or {}
            seconds = max(seconds, float(metadata.get(SECONDS, 0.0)))
            threads.add(metadata.get(THREADS, str(_threads())))  # files written before do not say
            places |= {number: (path, numbers.count(number)) for number in numbers}
        others = sorted(threads - {str(_threads())})
        if others:
            LOGGER.warning(
                "the profile was begun with %s CPU threads, resumed with %d: numbers may differ in their last digits",
                " and ".join(others),
                _threads(),
            )
        return places, seconds


def _threads() -> int:
    """Return the CPU threads that this process computes with."""
    import torch

    return torch.get_num_threads()
