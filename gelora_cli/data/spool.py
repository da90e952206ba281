"""Arrays that grow on disk, so that a large data set is never completely in memory."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gelora_cli.core.files import translate_write_errors

PENDING_ROWS = 65_536
"""Rows that wait in memory until they are written together: many small writes take longer than what they write."""


class Spool:
    """Rows of numbers, appended to a temporary file and read back through a memory map.

    The file has no name in any directory, so it disappears with the last array that uses it. The operating system
    drops pages of a memory map when it needs the memory.
    """

    def __init__(self, dtype: type[np.generic], *, width: int | None = None) -> None:
        """Open the temporary file; rows are single numbers, or `width` numbers each."""
        self._dtype = np.dtype(dtype)
        self._row_shape = () if width is None else (width,)
        with _report_full_disk():
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - the array lives on after this
        self._rows = 0
        self._pending: list[NDArray[Any]] = []
        self._pending_rows = 0

    def add(self, values: ArrayLike) -> None:
        """Append rows: (n,), or (n, width).

        Raises:
            GeloraError: the disk of temporary files (`TMPDIR`) is full.
        """
        block = np.array(values, self._dtype).reshape(-1, *self._row_shape)  # a copy: it is written later
        self._pending.append(block)
        self._pending_rows += len(block)
        if self._pending_rows >= PENDING_ROWS:
            self._write_pending()

    def _write_pending(self) -> None:
        if self._pending:
            with _report_full_disk():
                self._file.write(np.concatenate(self._pending).tobytes())
        self._rows += self._pending_rows
        self._pending, self._pending_rows = [], 0

    def array(self) -> NDArray[Any]:
        """Return all rows, read-only."""
        self._write_pending()
        with _report_full_disk():
            self._file.flush()
        shape = (self._rows, *self._row_shape)
        if not self._rows:
            return np.zeros(shape, self._dtype)  # an empty file can't be mapped
        return np.memmap(self._file, self._dtype, "r", shape=shape)

    def array_or_none(self) -> NDArray[Any] | None:
        """Return all rows, or None if none were added."""
        rows = self.array()
        return rows if len(rows) else None


def _report_full_disk() -> AbstractContextManager[None]:
    fix = "free space there, or name another directory by TMPDIR=DIR"
    return translate_write_errors(Path(tempfile.gettempdir()), fix=fix)
