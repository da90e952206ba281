"""Files that the user names with `output=`: written whole, and never over a file that gelora did not write.

What gelora wrote is known by its sha256, which stands beside it in `.NAME.gelora` in the form of `sha256sum`. A file
that was edited or replaced since has another sha256, so no format has to hold a mark.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.directories import remove_partial_writes
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import file_sha256, translate_write_errors, write_atomic


def check_output(
    path: Path, *, force: bool, example: str = "output.json", endings: Sequence[str] = (), kinds: str = ""
) -> None:
    """Refuse an output file that can't be written or would be lost, before any work.

    Args:
        path: the file.
        force: replace a file that gelora did not write.
        example: a name for such a file.
        endings: those that its name may have; none where any is accepted. A name without an ending always is.
        kinds: what is written into it, in words, for the message about another ending.

    Raises:
        GeloraError: it is a directory, its directory is not there, it has another ending, or it is a file that gelora
            did not write, without `force`.
    """
    target = _target(path)
    with translate_write_errors(path, "name a file in an existing directory: output=FILE"):
        if not target.parent.is_dir():
            raise GeloraError(
                f"output={path}: {target.parent} does not exist; make that directory, or name another file"
            )
        kind = _kind(target)
        if kind == "directory":
            raise GeloraError(f"output={path} is a directory; name a file in it, such as output={path / example}")
        if kind == "file" and not force and not _is_ours(target):
            raise GeloraError(
                f"output={path} exists, and gelora did not write it or it was changed since: name another file, or "
                "give force=true to replace it"
            )
        if kind != "other" and endings and path.suffix and path.suffix.lower() not in endings:
            raise GeloraError(
                f"output={path}: {kinds} is written, so a name may end in {', '.join(endings)}; name it "
                f"{path.with_suffix(endings[0]).name}"
            )
        if kind in ("", "file") and not os.access(target.parent, os.W_OK):
            raise GeloraError(f"output={path} can't be written to {target.parent}; name a file elsewhere")


def check_outside_runs(path: Path) -> None:
    """Refuse an output within the directory of a run, whose files are those of the run alone.

    Raises:
        GeloraError: naming the run.
    """
    target = _target(path)
    for directory in (target, *target.parents):
        if (directory / RunManifest.FILE).is_file():
            raise GeloraError(f"output={path} is within the run {directory}; name a place outside of it")


def write_output(path: Path, content: str, *, force: bool) -> None:
    """Write what the user named with `output=`: a file whole or not at all, a pipe or a device as it comes.

    Raises:
        GeloraError: as `check_output`, or it can't be written.
    """
    check_output(path, force=force)  # again: the file may have come while the command worked
    target, data = _target(path), content.encode()
    with translate_write_errors(path, "check the directory, or name another file with output=FILE"):
        if _kind(target) == "other":  # can't be replaced by another file, as `write_atomic` does
            with target.open("wb") as file:
                file.write(data)
            return
        remove_partial_writes(target)
        write_atomic(target, data, setting="output=FILE")
        # After the file: gelora that is killed in between takes the file for a foreign one, and not the reverse.
        record = f"{hashlib.sha256(data).hexdigest()}  {target.name}\n"
        write_atomic(_record(target), record, setting="output=FILE")


def _target(path: Path) -> Path:
    """Return where a path leads: the file behind a link is written, and the link stays."""
    try:
        expanded = path.expanduser()
        # A pipe keeps its name: /dev/stdout leads to one that has no other.
        return expanded.absolute() if expanded.is_fifo() else expanded.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name that no system takes
        raise GeloraError(f"output={path} leads nowhere: {error}; name another file") from error


def _kind(target: Path) -> str:
    """Return `file`, `directory`, `other` (a device or a pipe), or an empty string where nothing is there."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return ""
    if stat.S_ISREG(mode):
        return "file"
    return "directory" if stat.S_ISDIR(mode) else "other"


def _record(target: Path) -> Path:
    """Return the file that names the sha256 of what gelora wrote to `target`."""
    return target.with_name(f".{target.name}.gelora")


def _is_ours(target: Path) -> bool:
    """Return whether a file is empty, or still what gelora wrote."""
    if target.stat().st_size == 0:
        return True
    record = _record(target)
    # Ours is one line of 64 digits and a name of at most 255 bytes; a link or a larger file is somebody else's.
    if not record.is_file() or record.is_symlink() or record.stat().st_size > 1000:
        return False
    return record.read_text(encoding="utf-8", errors="replace").split(" ")[0] == file_sha256(target)
