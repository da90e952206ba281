"""Arrays that grow on disk, so that a large data set is never whole in memory."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gelora_cli.core.files import translate_write_errors


def _temporary() -> AbstractContextManager[None]:
    return translate_write_errors(
        Path(tempfile.gettempdir()), fix="free space there, or name another place by the variable TMPDIR"
    )


class Spool:
    """Rows of numbers, appended to an unlinked temporary file and read back through a memory map.

    So the numbers of a large data set are never whole in memory; the system drops their pages when it needs them.
    """

    def __init__(self, dtype: type[np.generic], *, width: int | None = None) -> None:
        self._dtype, self._shape = np.dtype(dtype), () if width is None else (width,)
        with _temporary():
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - the array lives on after this
        self._rows = 0

    def add(self, values: ArrayLike) -> None:
        """Append rows: (n,), or (n, width).

        Raises:
            GeloraError: the disk of temporary files (`TMPDIR`) is full.
        """
        block = np.ascontiguousarray(values, self._dtype).reshape(-1, *self._shape)
        with _temporary():
            self._file.write(block.tobytes())
        self._rows += len(block)

    def array(self) -> NDArray[Any]:
        """All rows, read-only."""
        with _temporary():
            self._file.flush()
        shape = (self._rows, *self._shape)
        return np.memmap(self._file, self._dtype, "r", shape=shape) if self._rows else np.zeros(shape, self._dtype)

    def array_or_none(self) -> NDArray[Any] | None:
        """All rows, or None where none were added."""
        return self.array() if self._rows else None
