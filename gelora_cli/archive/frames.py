"""The file of an archive: lines of text in zstd frames, which `zstdcat FILE` prints. No torch."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.archive.records import ArchiveHead, Record, from_line
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import MOST_BYTES

if TYPE_CHECKING:
    import pyarrow

LONGEST_LINE = 2**24
"""Bytes of a line; a run with 10,000 answered questions has about a million."""
CHUNK = 2**20
LEVEL = 19
"""Of zstd: the highest that needs no special memory to read; 600 runs take some seconds once."""


def compress(lines: Iterable[str]) -> bytes:
    """Return lines as one zstd frame; frames may be put one after the other."""
    import pyarrow

    data = "".join(f"{line}\n" for line in lines).encode()
    compressed: bytes = pyarrow.Codec("zstd", compression_level=LEVEL).compress(data, asbytes=True)
    return compressed


def check_length(line: str, source: str) -> None:
    """Refuse a line that readers would refuse; `source` is what it was made from.

    Raises:
        GeloraError: it is too long.
    """
    if len(line) > LONGEST_LINE:  # lines are ASCII
        raise GeloraError(
            f"{source} can't be packed: its line has {len(line):,} bytes, at most {LONGEST_LINE:,} may be"
        )


def read_bytes(path: Path) -> bytes:
    """Return the compressed bytes of an archive.

    Raises:
        GeloraError: it is no regular file, too large, or can't be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise GeloraError(f"{path} is no archive: it is not a regular file. Name a file that gelora pack wrote.")
        if status.st_size > MOST_BYTES:
            raise GeloraError(f"{path} has {status.st_size:,} bytes; an archive has at most {MOST_BYTES:,}.")
        return path.read_bytes()
    except OSError as error:
        raise GeloraError(f"{path} can't be read as an archive: {error.strerror}.") from error


def read_lines(path: Path, compressed: bytes) -> Iterator[str]:
    """Yield the lines of an archive; at most one chunk and the line that it continues are in memory.

    Args:
        path: the archive, for messages.
        compressed: its bytes.

    Raises:
        GeloraError: no zstd, cut off, not UTF-8, or more than `MOST_BYTES` in all or `LONGEST_LINE` in a line.
    """
    total, number, begun = 0, 0, b""
    for chunk in _decompressed(path, compressed):
        total += len(chunk)
        if total > MOST_BYTES:
            raise GeloraError(f"{path} holds more than {MOST_BYTES:,} bytes; no archive of gelora pack does.")
        *whole, begun = (begun + chunk).split(b"\n")
        for line in (*whole, begun):
            if len(line) > LONGEST_LINE:
                raise GeloraError(f"{path}, line {number + 1} has more than {LONGEST_LINE:,} bytes; no archive does.")
        for line in whole:
            number += 1
            yield _decoded(path, number, line)
    if begun or not number:
        raise GeloraError(f"{path} is damaged: it is cut off behind line {number}. Restore it.")


def read_records(path: Path) -> Iterator[tuple[int, Record]]:
    """Yield the number and the record of each line of an archive, the first an `ArchiveHead`.

    Raises:
        GeloraError: as `read_bytes` and `read_lines` say, or a line is none of an archive's.
    """
    for number, line in enumerate(read_lines(path, read_bytes(path)), start=1):
        yield number, read_record(path, number, line)


def read_record(path: Path, number: int, line: str) -> Record:
    """Return the record of a line of an archive; the first is its head and the only one.

    Raises:
        GeloraError: the line is none of an archive's, or a head where there is none; the message names file and line.
    """
    try:
        record = from_line(line)
        if isinstance(record, ArchiveHead) is not (number == 1):
            raise ValueError(f"kind {record.KIND} given; the first line, and no other, is of the kind archive")
    except ValueError as error:
        raise GeloraError(
            f"{path}, line {number}: {str(error)[:300]}. Restore it, or read it with the gelora that packed it."
        ) from error
    return record


def _decompressed(path: Path, compressed: bytes) -> Iterator[bytes]:
    """Yield the decompressed bytes in chunks, so that a small file of very many bytes fills no memory."""
    import pyarrow

    try:
        with _open(pyarrow.BufferReader(compressed)) as stream:
            while chunk := stream.read(CHUNK):
                yield bytes(chunk)
    except OSError as error:  # pyarrow's error of a damaged stream
        raise GeloraError(f"{path} is no archive, or damaged: {str(error)[:200]}. Restore it.") from error


def _open(source: pyarrow.BufferReader) -> pyarrow.CompressedInputStream:
    import pyarrow

    return pyarrow.CompressedInputStream(source, "zstd")


def _decoded(path: Path, number: int, line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise GeloraError(f"{path}, line {number}: {error}. Restore it.") from error
