"""Run directories: their names, atomic writes, locks, status and the DONE marker; no torch."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import logging
import math
import os
import re
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from gelora_cli.core.artifacts import RunManifest
from gelora_cli.core.codec import StoredArtifact, read_artifact, read_text, to_json
from gelora_cli.core.errors import GeloraError, UnusableError

LOGGER = logging.getLogger("gelora")

CONFIG, LOG, METRICS, PREDICTIONS, ADAPTER, CARD, DONE = (
    "config.yaml",
    "log.txt",
    "metrics.jsonl",
    "predictions.jsonl",
    "adapter",
    "README.md",
    "DONE",
)
REQUIRED = (CONFIG, RunManifest.FILE, METRICS, PREDICTIONS, "ranks.json", "result.json")
"""What every finished run has, beside its adapter."""
PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ANSWERS = ("predictions.json", "nbest.json", "na_prob.json")
TRACK = "track.png"
FILES = (
    DONE,
    "result.json",
    RunManifest.FILE,
    METRICS,
    PREDICTIONS,
    "ranks.json",
    "profile.json",
    LOG,
    CARD,
    *ANSWERS,
    "profile.png",
    "ranks.png",
    TRACK,
    CONFIG,
)
"""Every file that a run writes into its directory, in the order in which they are removed."""
STAGING = ".adapter-"
"""How the directories begin in which an adapter is written before its files take their places."""
CHECKPOINTS = "checkpoints"
PROFILES = ".profiles"
STATES = "states"
"""Of a profile that is being measured: the hidden states so far."""
LOCK = ".lock"
LOCK_SECONDS = 0.5
WAIT_SECONDS = 1.0
PID_DIGITS = 10
"""A number of so many digits is no process's."""


def run_path(runs_dir: Path, *, task: str, model: str, method: str, budget: str | None, seed: int, digits: str) -> Path:
    """`<runs_dir>/<task>/<model>/<method>/b<budget>-s<seed>-<digits>`, without `b<budget>-` for an exempt method."""
    name = f"s{seed}-{digits}"
    return runs_dir / task / model / method / (name if budget is None else f"b{budget}-{name}")


def profile_path(runs_dir: Path, digits: str) -> Path:
    """The directory of a profile that all runs with equal inputs share."""
    return runs_dir / PROFILES / digits


def create(directory: Path, setting: str = "runs_dir") -> None:
    """Make a directory and those above it; `setting` is the key that names another.

    Raises:
        GeloraError: it can't be made or written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise GeloraError(
            f"{directory} can't be written to: {error.strerror}. Choose another with {setting}=DIR."
        ) from error


def check_free(directory: Path) -> None:
    """Refuse a directory that could not be made or written to, or that a live process holds; nothing is made.

    Raises:
        GeloraError: with the reason.
    """
    nearest = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise GeloraError(f"{directory} can't be written to: {nearest} is not ours. Choose another with runs_dir=DIR.")
    if is_held(directory):
        raise GeloraError(f"the run directory {directory} is in use by another process. Wait for it, or stop it first.")


def check_vacant(directory: Path) -> None:
    """Refuse a place that something is in already.

    Raises:
        GeloraError: a file, or a directory that is not empty.
    """
    if directory.is_dir() and not any(directory.iterdir()):
        return
    if directory.exists():
        what = "is not empty" if directory.is_dir() else "is a file"
        raise GeloraError(f"output={directory} {what}; name a directory that is empty or not there yet")


@contextlib.contextmanager
def new_directory(directory: Path) -> Iterator[Path]:
    """A temporary directory beside `directory`, an absolute path, that takes its place at the end: whole or not at all.

    Raises:
        GeloraError: `directory` is there and not empty, or can't be written.
    """
    check_vacant(directory)
    remove_half_written(directory)
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    fix = "check the directory above it, or take another output=DIR"
    with writing(directory, fix):
        temporary.mkdir(parents=True)
    try:
        yield temporary
        with writing(directory, fix):
            temporary.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_half_written(path: Path) -> None:
    """Remove what processes that were killed while they wrote `path` have left beside it."""
    if path.parent.is_dir():
        for other in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            if _is_left_over(other):
                _remove(other)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: to a temporary name beside it, flushed to disk, then renamed.

    Raises:
        GeloraError: the disk is full or the directory can't be written to; the old file, if any, is intact.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with writing(path):
            temporary.unlink(missing_ok=True)  # a link in its place would be written through
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    except GeloraError:
        temporary.unlink(missing_ok=True)
        raise


def honour_umask(path: Path) -> None:
    """Give a file that a library wrote for its owner alone the mode that any other new file has."""
    umask = os.umask(0o077)
    os.umask(umask)
    path.chmod(0o666 & ~umask)


def relative_to(path: Path, directory: Path) -> str:
    """The way from a directory to a path, beginning with a dot, so that it is not mistaken for a name on the hub."""
    way = os.path.relpath(path.resolve(), directory.resolve())
    return way if way.startswith("..") else f"./{way}"


@contextlib.contextmanager
def writing(path: Path, fix: str | None = None) -> Iterator[None]:
    """Turn a write that the operating system refused into a message about `path`; `fix` replaces our usual advice.

    Raises:
        GeloraError: an OSError, or a library's own error that wraps one (safetensors' "... (os error 28)").
    """
    try:
        yield
    except GeloraError:
        raise
    except Exception as error:
        wrapped = re.search(r"\(os error (\d+)\)", str(error))
        number = error.errno if isinstance(error, OSError) else wrapped and int(wrapped[1])
        if number is None:
            raise
        full = number in (errno.ENOSPC, errno.EDQUOT)
        usual = "free space on the disk" if full else "check the directory, or take another runs_dir=DIR"
        if number == errno.EFBIG:
            usual = "raise the limit of a file's size (ulimit -f)"
        raise GeloraError(
            f"{path} can't be written: {os.strerror(number)}; {fix or usual}, and run the same command again."
        ) from error


def write_artifact(artifact: StoredArtifact, directory: Path) -> Path:
    """Store an artifact under its own file name."""
    path = directory / str(artifact.FILE)
    write_atomic(path, to_json(artifact))
    return path


def json_text(value: object, indent: int | None = None) -> str:
    """JSON as every reader takes it: what is not finite becomes null."""
    return json.dumps(_finite(value), allow_nan=False, ensure_ascii=False, indent=indent)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def append_line(path: Path, values: dict[str, Any]) -> None:
    """Add one JSON line to a file such as `metrics.jsonl`."""
    with writing(path), _open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
        file.write(json.dumps(values, allow_nan=False) + "\n")


def cut(path: Path, size: int) -> None:
    """Shorten a file to its first `size` bytes; where there is none, leave none."""
    if path.exists() and path.stat().st_size > size:
        with writing(path), _open_regular(path, os.O_WRONLY) as file:
            file.truncate(size)


def _open_regular(path: Path, flags: int) -> TextIO:
    """Open a file of a run without following a symbolic link, which would read or change a file elsewhere.

    Raises:
        GeloraError: it is a symbolic link, a directory, a pipe, or a second name of another file.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _not_regular(path) from error
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise _not_regular(path)
    return os.fdopen(descriptor, "w" if flags & os.O_WRONLY else "r+", encoding="utf-8")


def _not_regular(path: Path) -> GeloraError:
    what = "is a directory" if path.is_dir() else "is no regular file of its own"
    what = "is a symbolic link" if path.is_symlink() else what
    return GeloraError(f"{path} {what}, where gelora keeps a file; nothing was written. Remove it, or move it away.")


def check_files(directory: Path) -> None:
    """Look at what is in a directory of a run or profile before anything is written to it.

    Raises:
        GeloraError: one of its files is a link, a directory or a pipe, or one of its directories is a link or a file.
    """
    for name in (LOCK, *FILES):
        path = directory / name
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise _not_regular(path)
    for name in (ADAPTER, CHECKPOINTS, STATES):
        path = directory / name
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            what = "is a symbolic link" if path.is_symlink() else "is a file"
            raise GeloraError(f"{path} {what}, where gelora keeps a directory; nothing was written. Remove it.")


@contextlib.contextmanager
def locked(directory: Path, what: str) -> Iterator[None]:
    """Hold a directory against other processes; the system lets go of it when the process ends, however it ends.

    Raises:
        GeloraError: another live process holds it; the message says which.
    """
    with _open_lock(directory) as file:
        if not _soon_taken(file):
            file.seek(0)
            holder = file.read(200).strip() or "another process"
            raise GeloraError(f"{what} {directory} is in use by {holder}. Wait for it, or stop it first.")
        check_files(directory)
        _sign(file)
        _remove_left_over(directory)
        yield


@contextlib.contextmanager
def waiting_lock(directory: Path, what: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a directory, waiting for whoever holds it now, which the log names; `waiting()` is called meanwhile."""
    with _open_lock(directory) as file:
        told = False
        while not _taken(file):
            if not told:
                file.seek(0)
                LOGGER.info("waiting for %s %s: it is in use by %s", what, directory, file.read(200).strip())
            told = True
            waiting()
            time.sleep(WAIT_SECONDS)
        check_files(directory)
        _sign(file)
        _remove_left_over(directory)
        yield


def _open_lock(directory: Path) -> TextIO:
    """The lock file, made where there is none.

    Raises:
        GeloraError: it is no regular file, or can't be opened.
    """
    with writing(directory / LOCK):
        return _open_regular(directory / LOCK, os.O_RDWR | os.O_CREAT)


def _taken(file: TextIO) -> bool:
    """Whether the lock could be taken."""
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def is_held(directory: Path) -> bool:
    """Whether a live process holds the directory."""
    try:
        with _open_regular(directory / LOCK, os.O_RDONLY) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError, GeloraError):  # what is no lock of ours holds nothing
        return False
    except OSError:
        return True
    return False


def clear(directory: Path) -> None:
    """Remove what an earlier try left in a run directory, DONE first, so that no mixture is ever read as whole."""
    for name in FILES:
        (directory / name).unlink(missing_ok=True)
    for path in sorted((directory / ADAPTER).glob("*")):
        _remove(path)
    shutil.rmtree(directory / CHECKPOINTS, ignore_errors=True)


def mark_done(directory: Path) -> None:
    """Write DONE: the sha256 of every file of the run, as `sha256sum -c DONE` reads it; then the checkpoints go."""
    names = sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    shown = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    kept = [name for name in shown if name.name not in (LOG, DONE) and CHECKPOINTS not in name.parts]
    lines = [f"{file_sha256(directory / name)}  {name}" for name in kept]
    write_atomic(directory / DONE, "\n".join(lines) + "\n")
    shutil.rmtree(directory / CHECKPOINTS, ignore_errors=True)


def check_intact(directory: Path) -> None:
    """Compare a finished run's files with the sha256 that DONE names for each; card and pictures may be changed.

    Raises:
        GeloraError: one is missing, damaged or was changed, or DONE itself was.
    """
    digests = named_digests(directory)
    for name in (*REQUIRED, *digests):
        path = directory / name
        if path.suffix in (".png", ".md") or (path.is_file() and digests.get(name) == file_sha256(path)):
            continue
        how = "is damaged or was changed" if path.is_file() else "is missing"
        raise GeloraError(
            f"{path} {how} since the run ended (DONE names another sha256). Restore it, or do the run again with "
            "force=true."
        )


def named_digests(directory: Path) -> dict[str, str]:
    """Name -> sha256 of every file that DONE names.

    Raises:
        GeloraError: DONE is not a whole list of a run's files.
    """
    try:
        lines = read_text(directory / DONE, "a list of a run's files").splitlines()
    except UnusableError:
        raise
    except GeloraError as error:
        raise GeloraError(f"{error} Do the run again with force=true.") from error
    found = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    whole = all(re.fullmatch("[0-9a-f]{64}", digest) for digest in found.values())
    if not whole or not {*REQUIRED} <= {*found} or not any(name.startswith(f"{ADAPTER}/") for name in found):
        raise GeloraError(
            f"{directory / DONE} is damaged: it names not every file of the run. Do the run again with force=true."
        )
    return found


def prefix_sha256(path: Path, size: int) -> str:
    """The sha256 of a file's first `size` bytes, in hex; of nothing where there is no file."""
    digest = hashlib.sha256()
    if size:
        with path.open("rb") as file:
            digest.update(file.read(size))
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """The sha256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_finished_work(directory: Path) -> None:
    """Remove what a process that was killed after it wrote DONE has left: checkpoints, and files half written."""
    if is_done(directory) and not is_held(directory):
        shutil.rmtree(directory / CHECKPOINTS, ignore_errors=True)
        _remove_left_over(directory)


def is_done(directory: Path) -> bool:
    """Whether the run in this directory has ended well."""
    return (directory / DONE).exists()


def status(directory: Path) -> str:
    """`done`, `running`, `failed` or `interrupted`; a `running` whose process is gone is interrupted."""
    return status_of(directory, read_artifact(RunManifest, directory / RunManifest.FILE))


def status_of(directory: Path, manifest: RunManifest) -> str:
    """The status of the run in this directory, whose `run.json` is `manifest`."""
    if manifest.status == "running" or (manifest.status == "done" and not is_done(directory)):
        return "running" if is_held(directory) else "interrupted"
    return manifest.status


def find_runs(directory: Path) -> list[Path]:
    """Every run directory at or below a directory, in the order of their names; links are not followed.

    A directory that can't be looked into may be one, and is among them.
    """
    found: list[Path] = []

    def keep_unreadable(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            found.append(Path(error.filename))

    for place, directories, files in os.walk(directory, onerror=keep_unreadable):
        if RunManifest.FILE in files or RunManifest.FILE in directories:
            found.append(Path(place))
        directories[:] = [name for name in directories if name not in (PROFILES, ADAPTER, CHECKPOINTS)]
    return sorted(found)


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _sign(file: TextIO) -> None:
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {now()}")
    file.flush()


def _soon_taken(file: TextIO) -> bool:
    """Whether the lock could be taken within `LOCK_SECONDS`: whoever lists runs has it for a moment."""
    deadline = time.monotonic() + LOCK_SECONDS
    while not _taken(file):
        if time.monotonic() > deadline:
            return False
        time.sleep(LOCK_SECONDS / 10)
    return True


def _remove_left_over(directory: Path) -> None:
    """Remove what processes that were killed while they wrote have left in a directory that this one holds."""
    for path in [*directory.rglob(".*.tmp"), *directory.glob(f"{STAGING}*")]:
        if path.name.startswith(STAGING) or _is_left_over(path):
            _remove(path)


def _is_left_over(path: Path) -> bool:
    """Whether a `.NAME.PID.tmp` is of a process that has ended."""
    number = path.name.split(".")[-2]
    return number.isdecimal() and len(number) < PID_DIGITS and not _lives(int(number))


def _remove(path: Path) -> None:
    """Remove a file or a link, or a directory with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    """Whether there is such a process on this machine, whoever's it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
