"""Locks on the directories of runs and profiles, so that two processes never write to the same one.

The lock is the kernel's `flock` on the file `.lock`. The kernel releases it when the process ends, however it ends, so
a lock never has to be removed by hand. The text in the file says who holds it and is only for messages.
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
    with _open_lock(directory) as file:
        deadline = time.monotonic() + RETRY_SECONDS
        while not _acquire(file, directory):
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
    with _open_lock(directory) as file:
        logged = False
        while not _acquire(file, directory):
            if not logged:
                LOGGER.info("waiting for %s %s: it is in use by %s", what, directory, _read_holder(file))
            logged = True
            while_waiting()
            time.sleep(WAIT_SECONDS)
        _begin_work(file, directory)
        yield


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


def _open_lock(directory: Path) -> TextIO:
    """Open the lock file, creating it if there is none.

    Raises:
        GeloraError: it is not a regular file, or can't be opened.
    """
    with translate_write_errors(directory / LOCK):
        return open_regular(directory / LOCK, os.O_RDWR | os.O_CREAT)


def _acquire(file: TextIO, directory: Path) -> bool:
    """Try to lock the open file, and return whether that succeeded.

    Raises:
        GeloraError: the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            raise GeloraError(
                f"{directory} can't be locked: {error.strerror}. Its file system has no locks to keep two runs apart. "
                "Choose a directory on another file system with runs_dir=DIR."
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
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {utc_now()}")
    file.flush()
    remove_all_partial_writes(directory)
