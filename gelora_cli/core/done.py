"""The DONE marker: the checksums of a finished run's files, written last; no torch."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path

from gelora_cli.core.directories import remove_all_partial_writes, remove_path
from gelora_cli.core.errors import GeloraError, UnusableError
from gelora_cli.core.files import file_sha256, read_text, write_atomic
from gelora_cli.core.locks import is_locked
from gelora_cli.core.run_files import (
    ADAPTER,
    CHECKPOINTS,
    DONE,
    EVENT_FILES,
    FILES,
    LOG,
    REQUIRED_FILES,
    SIGNAL_FILES,
    TRACKER_FILES,
)


def is_done(directory: Path) -> bool:
    """Return whether the run in this directory has finished."""
    return (directory / DONE).exists()


def mark_done(directory: Path) -> None:
    """Write DONE with the sha256 of every file of the run, as `sha256sum -c DONE` reads it, and remove checkpoints."""
    names = sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    lines = []
    for name in names:
        # Locks and partial writes are hidden. The log grows after DONE, and checkpoints are removed.
        is_hidden = any(part.startswith(".") for part in name.parts)
        is_event_file = fnmatch(name.name, EVENT_FILES)
        if not is_hidden and not is_event_file and name.name not in (LOG, DONE) and CHECKPOINTS not in name.parts:
            lines.append(f"{file_sha256(directory / name)}  {name}")  # two spaces: the format of sha256sum
    write_atomic(directory / DONE, "\n".join(lines) + "\n")
    # Only after DONE: a run that is killed in between is finished, one killed before resumes from its checkpoint.
    shutil.rmtree(directory / CHECKPOINTS, ignore_errors=True)


def verify_checksums(directory: Path) -> None:
    """Compare a finished run's files with their sha256 in DONE; the model card and pictures may have been changed.

    Raises:
        GeloraError: a file is missing, damaged or changed, or DONE itself is.
    """
    checksums = read_checksums(directory)
    verify_files(directory, checksums, checksums)  # all required ones are among them


def verify_files(directory: Path, checksums: Mapping[str, str], names: Iterable[str]) -> None:
    """Compare these files of a finished run with their sha256 in DONE, `checksums`, as `verify_checksums` does.

    Raises:
        GeloraError: a file is missing, damaged or changed.
    """
    for name in names:
        path = directory / name
        if may_change(name) or (path.is_file() and checksums.get(name) == file_sha256(path)):
            continue
        how = "is damaged or was changed" if path.is_file() else "is missing"
        raise GeloraError(
            f"{path} {how} since the run ended (DONE names another sha256). Restore it, or do the run again with "
            "force=true."
        )


def may_change(name: str) -> bool:
    """Return whether a file of a finished run may be written again: the model card and pictures."""
    return name.endswith((".png", ".md"))


def read_checksums(directory: Path) -> dict[str, str]:
    """Return the sha256 of every file that DONE lists, by name.

    Raises:
        GeloraError: DONE is not a complete list of a run's files.
    """
    try:
        lines = read_text(directory / DONE, "a list of a run's files").splitlines()
    except UnusableError:
        raise
    except GeloraError as error:
        raise GeloraError(f"{error} Do the run again with force=true.") from error
    checksums = {}
    for line in lines:
        checksum, _, name = line.partition("  ")
        checksums[name] = checksum
    is_valid = all(re.fullmatch("[0-9a-f]{64}", checksum) for checksum in checksums.values())
    has_adapter = any(name.startswith(f"{ADAPTER}/") for name in checksums)
    if not is_valid or not has_adapter or not checksums.keys() >= {*REQUIRED_FILES}:
        raise GeloraError(
            f"{directory / DONE} is damaged: it does not list every file of the run. Do the run again with force=true."
        )
    return checksums


def clear_run(directory: Path, *, trackers: bool = False) -> None:
    """Remove the files of a previous attempt from a run directory; those of its trackers only with `trackers`.

    An attempt that begins from scratch writes the lines of the previous one again, up to where that came. So it is the
    same run in a tracker, unless the user asked for another.
    """
    for name in FILES:  # DONE comes first, so that a mixture of two runs never looks finished
        (directory / name).unlink(missing_ok=True)
    patterns = (SIGNAL_FILES, f"{ADAPTER}/*", *(TRACKER_FILES if trackers else ()))
    for path in [path for pattern in patterns for path in directory.glob(pattern)]:
        remove_path(path)
    shutil.rmtree(directory / CHECKPOINTS, ignore_errors=True)


def clean_finished_run(directory: Path) -> None:
    """Remove checkpoints and partial files that a process left when it was killed after it wrote DONE."""
    if is_done(directory) and not is_locked(directory):  # a holder may be about to repeat the run with force=true
        shutil.rmtree(directory / CHECKPOINTS, ignore_errors=True)
        remove_all_partial_writes(directory)
