"""The three standard streams of a command: closed ones, full ones, and pipes whose reader has gone."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, cast

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import escape_controls


class TolerantStream:
    """Standard output or error, for a program that must not fail because its reader has gone (`gelora ls | head -1`).

    Once a write is refused, what follows goes nowhere. A reader that has gone is no error. Anything else that refuses
    standard output, such as a full disk, is one; where standard error is full there is no place left to say so. On a
    terminal, standard output holds nothing that a terminal obeys, whatever names and texts it shows.
    """

    def __init__(self, stream: TextIO, *, is_output: bool) -> None:
        self._stream, self._is_output = stream, is_output

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write as the stream does.

        Raises:
            GeloraError: standard output can't be written to.
        """
        # In a pipe or a file the text stays as it is: no terminal reads it, and a program wants the bytes.
        safe_text = escape_controls(text) if self._is_output and self._stream.isatty() else text
        with self._refused_writes():
            self._stream.write(safe_text)
        return len(text)

    def flush(self) -> None:
        """Flush as the stream does.

        Raises:
            GeloraError: standard output can't be written to.
        """
        with self._refused_writes():
            self._stream.flush()

    @contextlib.contextmanager
    def _refused_writes(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self._write_nowhere()
        except OSError as error:
            self._write_nowhere()
            if self._is_output:
                raise GeloraError(
                    f"standard output can't be written: {error.strerror}; free space there, or send it elsewhere"
                ) from error

    def _write_nowhere(self) -> None:
        """Let the rest go to the null device, what Python writes when it ends included."""
        null_device = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null_device, self._stream.fileno())
        os.close(null_device)


def prepare_streams() -> None:
    """Make standard output and error safe to write to, whatever the shell has made of them.

    Closed streams are opened on the null device, since the next file to be opened would take their number. Characters
    that the terminal's encoding lacks are written as escapes.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for stream in ("stdout", "stderr"):
        current = getattr(sys, stream)
        if current is None:
            current = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
        if hasattr(current, "reconfigure"):
            current.reconfigure(errors="backslashreplace")
        setattr(sys, stream, cast(TextIO, TolerantStream(current, is_output=stream == "stdout")))
