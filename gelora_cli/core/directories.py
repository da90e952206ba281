"""Making, checking and cleaning directories that gelora writes to; no torch."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import not_regular_error, translate_write_errors
from gelora_cli.core.run_files import ADAPTER, CHECKPOINTS, FILES, LOCK, SIGNAL_FILES, STAGING_PREFIX, STATES

MAX_PID_DIGITS = 9
"""A longer number in a file's name is not a process id."""


def create_directory(directory: Path, setting: str = "runs_dir=DIR") -> None:
    """Make a directory and its parents, and check that a file can be written; `setting` is what the user gave for it.

    Raises:
        GeloraError: it can't be made or written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):  # permission bits say nothing of a full or read-only file system
            pass
    except OSError as error:
        raise GeloraError(
            f"{directory} can't be written to: {error.strerror}. Choose another with {setting}."
        ) from error


def check_empty(directory: Path) -> None:
    """Refuse an output directory that already holds something; one that does not exist yet is accepted.

    Raises:
        GeloraError: it is a file, or a directory that is not empty.
    """
    if directory.is_dir() and not any(directory.iterdir()):
        return
    if directory.exists():
        what = "is not empty" if directory.is_dir() else "is a file"
        raise GeloraError(f"output={directory} {what}; name an empty directory or one that does not exist yet")


@contextlib.contextmanager
def new_directory(directory: Path) -> Iterator[Path]:
    """Yield a temporary directory that becomes `directory`, an absolute path, if the block ends without an error.

    Raises:
        GeloraError: `directory` exists and is not empty, or can't be written.
    """
    check_empty(directory)
    remove_partial_writes(directory)
    # Beside the target, because a rename is atomic only within one file system.
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    fix = "check the directory above it, or choose another output=DIR"
    with translate_write_errors(directory, fix):
        temporary.mkdir(parents=True)
    try:
        yield temporary
        with translate_write_errors(directory, fix):
            temporary.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_files(directory: Path) -> None:
    """Check what a directory of a run or profile already holds before anything is written to it.

    Raises:
        GeloraError: one of its files is a link, a directory or a pipe, or one of its directories is a link or a file.
    """
    for path in (*(directory / name for name in (LOCK, *FILES)), *directory.glob(SIGNAL_FILES)):
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise not_regular_error(path)
    for name in (ADAPTER, CHECKPOINTS, STATES):
        path = directory / name
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            what = "is a symbolic link" if path.is_symlink() else "is a file"
            raise GeloraError(f"{path} {what}, but gelora keeps a directory there; nothing was written. Remove it.")


def remove_partial_writes(path: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote `path`."""
    if path.parent.is_dir():
        for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            if _writer_has_ended(temporary):
                remove_path(temporary)


def remove_all_partial_writes(directory: Path) -> None:
    """Remove the temporary files of killed processes anywhere in a directory that this process has locked."""
    for temporary in list(directory.rglob(".*.tmp")):  # a list, since the walk must not meet what is being removed
        if _writer_has_ended(temporary):
            remove_path(temporary)
    for staging in list(directory.glob(f"{STAGING_PREFIX}*")):  # only the holder of the lock writes an adapter
        remove_path(staging)


def remove_path(path: Path) -> None:
    """Remove a file or a link, or a directory with everything in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def relative_to(path: Path, directory: Path) -> str:
    """Return the relative path from a directory, beginning with a dot so that it can't be a model's name on the hub."""
    relative = os.path.relpath(path.resolve(), directory.resolve())
    return relative if relative.startswith("..") else f"./{relative}"


def _writer_has_ended(temporary: Path) -> bool:
    """Return whether `.NAME.PID.tmp` belongs to a process that has ended; other names count as in use."""
    pid = temporary.name.split(".")[-2]
    if not pid.isdecimal() or len(pid) > MAX_PID_DIGITS:
        return False
    try:
        os.kill(int(pid), 0)  # signal 0 only asks whether a process of any user has this id on this machine
    except ProcessLookupError:
        return True
    except PermissionError:  # it exists and belongs to another user
        return False
    return False
