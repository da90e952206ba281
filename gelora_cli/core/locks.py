"""Locks on the directories of runs and profiles, and on archives, so that two processes never write to the same one.

The lock is the kernel's `flock` on the file `.lock`, of an archive on `.NAME.lock` beside it. The kernel releases it
when the process ends, however it ends, so a lock never has to be removed by hand. The text in the file says who holds
it and is only for messages.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from gelora_cli.core.directories import check_files, remove_all_partial_writes
from gelora_cli.core.environment import utc_now
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import open_regular, translate_write_errors
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.run_files import LOCK

RETRY_SECONDS = 0.5
"""`is_locked` of another command takes a lock for a moment, which must not count as "in use"."""
WAIT_SECONDS = 1.0
"""Time between two attempts to get a lock that may be held for hours."""
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""Errors of `flock` on file systems without locks, such as some network mounts."""


@contextlib.contextmanager
def lock_directory(directory: Path, what: str) -> Iterator[None]:
    """Lock a directory against other processes; `what` names it in messages.

    Raises:
        GeloraError: another process holds it; the message says which.
    """
    with _open_lock(directory / LOCK) as file:
        deadline = time.monotonic() + RETRY_SECONDS
        while not _acquire(file, directory, "runs_dir=DIR"):
            if time.monotonic() > deadline:
                holder = _read_holder(file) or "another process"
                raise GeloraError(f"{what} {directory} is in use by {holder}. Wait for it, or stop it first.")
            time.sleep(RETRY_SECONDS / 10)
        _begin_work(file, directory)
        yield


@contextlib.contextmanager
def wait_for_lock(directory: Path, what: str, while_waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Lock a directory, waiting as long as another process holds it.

    The log says once whom it waits for; `while_waiting` is called before each new attempt.
    """
    with _open_lock(directory / LOCK) as file:
        _wait(file, directory, what, "runs_dir=DIR", while_waiting)
        _begin_work(file, directory)
        yield


@contextlib.contextmanager
def wait_for_file(path: Path, what: str, setting: str) -> Iterator[None]:
    """Lock a file that is replaced as a whole and may not exist yet, waiting as long as another process holds it.

    The lock file is beside it and removed at the end, since users commit such files and publish their directories.

    Args:
        path: the file.
        what: what it is, in messages.
        setting: what the user gave to have it written there.

    Raises:
        GeloraError: the file system has no locks, or the lock file can't be made.
    """
    lock = path.with_name(f".{path.name}{LOCK}")
    while True:
        with _open_lock(lock, setting) as file:
            _wait(file, path, what, setting)
            if not _is_at(file, lock):  # removed by the process that held it, and perhaps made again by a third one
                continue
            _write_holder(file)
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)  # while it is still held, so that it is no other process's
            return


def is_locked(directory: Path) -> bool:
    """Return whether a live process holds the directory; reading rights are enough to ask."""
    try:
        with open_regular(directory / LOCK, os.O_RDONLY) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: several listings may look at the same time
    except (FileNotFoundError, NotADirectoryError, GeloraError):  # no lock file of gelora's
        return False
    except OSError as error:
        return error.errno not in NO_LOCKS
    return False


def check_available(directory: Path) -> None:
    """Refuse a run directory that can't be made or written to, or that a live process holds; nothing is created.

    Raises:
        GeloraError: with the reason.
    """
    nearest = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise GeloraError(
            f"{directory} can't be written to: {nearest} is not a directory that you may write to. Choose another with "
            "runs_dir=DIR."
        )
    if is_locked(directory):
        raise GeloraError(f"the run directory {directory} is in use by another process. Wait for it, or stop it first.")


def _open_lock(lock: Path, setting: str = "runs_dir=DIR") -> TextIO:
    """Open a lock file, creating it if there is none.

    Raises:
        GeloraError: it is not a regular file, or can't be opened.
    """
    with translate_write_errors(lock, setting=setting):
        return open_regular(lock, os.O_RDWR | os.O_CREAT)


def _wait(file: TextIO, path: Path, what: str, setting: str, while_waiting: Callable[[], None] = lambda: None) -> None:
    """Lock the open file of a path, waiting as long as another process holds it, whom the log names once.

    Raises:
        GeloraError: the file system has no locks.
    """
    logged = False
    while not _acquire(file, path, setting):
        if not logged:
            LOGGER.info("waiting for %s %s: it is in use by %s", what, path, _read_holder(file))
        logged = True
        while_waiting()
        time.sleep(WAIT_SECONDS)


def _is_at(file: TextIO, path: Path) -> bool:
    """Return whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _acquire(file: TextIO, path: Path, setting: str) -> bool:
    """Try to lock the open file of a path, and return whether that succeeded.

    Raises:
        GeloraError: the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            raise GeloraError(
                f"{path} can't be locked: {error.strerror}. Its file system has no locks to keep two commands apart. "
                f"Choose a place on another file system with {setting}."
            ) from error
        return False
    return True


def _read_holder(file: TextIO) -> str:
    file.seek(0)
    return file.read(200).strip()


def _begin_work(file: TextIO, directory: Path) -> None:
    """Check and clean the directory whose lock was just acquired, and write into the lock file who holds it."""
    # All of this only under the lock: before it, another process could change what was checked, or lose a file that it
    # is writing.
    check_files(directory)  # before anything is written
    _write_holder(file)
    remove_all_partial_writes(directory)


def _write_holder(file: TextIO) -> None:
    """Write into a lock file who holds it."""
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {utc_now()}")
    file.flush()
