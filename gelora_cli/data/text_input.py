"""Read UTF-8 text from a file or from standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from gelora_cli.core.errors import GeloraError

STANDARD_INPUT = "standard input"


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file.

    Raises:
        GeloraError: the file can't be read, or is not UTF-8.
    """
    try:
        return _decode(path.read_bytes(), str(path))
    except OSError as error:
        raise GeloraError(f"{path} can't be read: {error}. Check its permissions, or give another file") from error


def read_standard_input() -> str:
    """Return the text of standard input.

    Raises:
        GeloraError: standard input is closed, or is not UTF-8.
    """
    if sys.stdin is None:  # a process can be started without one
        raise GeloraError("standard input is closed: give file=FILE, or lines to read, as in: echo TEXT | gelora ...")
    return _decode(sys.stdin.buffer.read(), STANDARD_INPUT)


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")  # spreadsheets write a byte order mark, which is no part of the text
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise GeloraError(f"{name}, line {line}: not UTF-8 text ({error.reason}); save it as UTF-8") from error
