"""Reading, writing and hashing files, so that a kill or a full disk never leaves a broken file; no torch."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from gelora_cli.core.errors import GeloraError, UnusableError

MOST_BYTES = 2**28
"""The largest file that is read as one of gelora's; the largest real ones (ranks of a thousand blocks) have some MB."""


def write_atomic(path: Path, content: str | bytes, setting: str = "runs_dir=DIR") -> None:
    """Write a file completely or not at all; `setting` is what the user gave to have it written there.

    Raises:
        GeloraError: the disk is full or the directory is not writable; the old file, if any, is unchanged.
    """
    data = content.encode() if isinstance(content, str) else content
    # Beside the target, because a rename is atomic only within one file system. The process id keeps writers apart,
    # and shows later whether the file belongs to a process that was killed.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with translate_write_errors(path, setting=setting):
            temporary.unlink(missing_ok=True)  # writing through a link would change a file elsewhere
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # before the rename, or a crash could leave an empty file under the final name
            temporary.replace(path)
    except GeloraError:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            temporary.unlink()
        raise


def read_text(path: Path, what: str) -> str:
    """Return the text of a file that gelora wrote; `what` it is in messages.

    Raises:
        UnusableError: this user may not read it.
        GeloraError: it is missing, not a regular file (a directory, a dangling link, a pipe), too large, or not UTF-8.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise GeloraError(f"{path} is damaged: it is not a regular file. Remove it, and run again with force=true.")
        if status.st_size > MOST_BYTES:
            raise GeloraError(
                f"{path} is damaged: it has {status.st_size:,} bytes, and gelora writes at most {MOST_BYTES:,}. "
                "Run again with force=true."
            )
        return path.read_text(encoding="utf-8")
    except PermissionError as error:
        raise UnusableError(f"{path} can't be read: {error.strerror}. Make it readable.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise GeloraError(f"{path} can't be read as {what}: {reason}.") from error


def append_line(path: Path, values: Mapping[str, object]) -> None:
    """Append one JSON line to a file such as `metrics.jsonl`."""
    with translate_write_errors(path), open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
        file.write(json.dumps(values, allow_nan=False) + "\n")


def truncate_file(path: Path, size: int) -> None:
    """Shorten a file to its first `size` bytes; a missing or shorter file stays as it is."""
    if path.exists() and path.stat().st_size > size:
        with translate_write_errors(path), open_regular(path, os.O_WRONLY) as file:
            file.truncate(size)


@contextlib.contextmanager
def translate_write_errors(path: Path, fix: str | None = None, setting: str = "runs_dir=DIR") -> Iterator[None]:
    """Turn a write that the operating system refused into a message about `path`.

    Args:
        path: what is written.
        fix: advice in place of the usual one.
        setting: what the user gave to have it written there; the usual advice names it.

    Raises:
        GeloraError: an OSError, or a library's own error that wraps one (safetensors' "... (os error 28)").
    """
    try:
        yield
    except GeloraError:
        raise
    except Exception as error:
        number = _error_number(error)
        if number is None:
            raise
        advice = fix or _write_advice(number, setting)
        raise GeloraError(
            f"{path} can't be written: {os.strerror(number)}; {advice}, and run the same command again."
        ) from error


def _error_number(error: Exception) -> int | None:
    """Return the operating system's error number, also from the text of a Rust library's error; None for others."""
    if isinstance(error, OSError):
        return error.errno  # None for an OSError that a library raises by itself
    wrapped = re.search(r"\(os error (\d+)\)", str(error))
    return int(wrapped[1]) if wrapped else None


def _write_advice(number: int, setting: str) -> str:
    if number == errno.EFBIG:
        return "raise the limit of a file's size (ulimit -f)"
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "free space on the disk"
    return f"check the directory, or choose another with {setting}"


def open_regular(path: Path, flags: int) -> TextIO:
    """Open a file of a run without following a symbolic link, which would read or change a file elsewhere.

    Raises:
        GeloraError: it is a symbolic link, a directory, a pipe, or a second name of another file.
    """
    try:
        # O_NONBLOCK: opening a pipe must fail instead of waiting for a reader that never comes
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise not_regular_error(path) from error
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise not_regular_error(path)
    return os.fdopen(descriptor, "w" if flags & os.O_WRONLY else "r+", encoding="utf-8")


def not_regular_error(path: Path) -> GeloraError:
    """Return the error about a path where gelora expects a regular file that has no other name."""
    if path.is_symlink():
        what = "is a symbolic link"
    elif path.is_dir():
        what = "is a directory"
    else:
        what = "is not a regular file with a single name"
    return GeloraError(f"{path} {what}, but gelora keeps a file there; nothing was written. Remove it or move it away.")


def apply_umask(path: Path) -> None:
    """Give a file that a library wrote for its owner alone the mode that any other new file has."""
    umask = os.umask(0o077)  # there is no call that only reads it
    os.umask(umask)
    path.chmod(0o666 & ~umask)


def json_text(value: object, indent: int | None = None) -> str:
    """Return strict JSON, in which NaN and infinity become null."""
    return json.dumps(_null_if_not_finite(value), allow_nan=False, ensure_ascii=False, indent=indent)


def _null_if_not_finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _null_if_not_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_null_if_not_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def expand_home(path: str) -> str:
    """Return a path with a leading `~` or `~user` as that home directory; as it is where there is none."""
    return os.path.expanduser(path)  # noqa: PTH111 - Path's own raises a RuntimeError where there is none


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def prefix_sha256(path: Path, size: int) -> str:
    """Return the sha256 of a file's first `size` bytes, in hex; a missing file counts as empty if `size` is 0."""
    digest = hashlib.sha256()
    if size:  # without a check of existence, so that a missing file with a size above 0 is an error
        with path.open("rb") as file:
            digest.update(file.read(size))
    return digest.hexdigest()
