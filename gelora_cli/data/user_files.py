"""Find the files of your own data: which files a source and a split stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_names, quote_path
from gelora_cli.data.delimited import Dialect
from gelora_cli.data.files import READERS
from gelora_cli.data.hub import fetch_dataset
from gelora_cli.data.paths import exists


def dialect_of(data: DataConfig) -> Dialect:
    """Return how CSV files are written, as far as the user says so."""
    return Dialect(data.separator, data.quoting)


def locate_source(task: TaskConfig, key: str, value: str | None, suffixes: Iterable[str] = READERS) -> Path:
    """Return the file or directory that `data.<key>=value` names, or the snapshot of a hub id.

    Paths are absolute here: the configuration makes them so, and leaves a hub id as it is.

    Args:
        task: the task.
        key: the key below `data.`, for messages.
        value: what it names.
        suffixes: those of files that are accepted, for messages.

    Raises:
        GeloraError: nothing is given, or the path is neither a file nor a directory.
    """
    accepted = ", ".join(suffixes)
    if value is None:
        raise GeloraError(
            f"task={task.name} needs data: give data.{key}=FILE ({accepted}), a directory in the hub's layout or a hub "
            "id, and name its columns by task.columns=[...] task.label=COLUMN"
        )
    path = Path(value)
    if not path.is_absolute():
        return fetch_dataset(value, _hub_patterns(task), f"data.{key}")
    if not exists(path):
        raise GeloraError(
            f"data.{key}={quote_path(value)}: no such file or directory; accepted: {accepted}, a directory, or a hub "
            "id (owner/name)"
        )
    if not path.is_file() and not path.is_dir():
        # A pipe gives its content only once.
        raise GeloraError(
            f"data.{key}={quote_path(value)} is neither a file nor a directory, and rows are read more than once; "
            f"write them to a file first: {accepted}"
        )
    return path


def locate_files(
    task: TaskConfig, data: DataConfig, splits_of_key: Mapping[str, Iterable[str]], suffixes: Iterable[str] = READERS
) -> dict[str, tuple[Path, list[Path]]]:
    """Return key -> (file or directory, the files of these splits in it), for each key below `data.` that is given."""
    sources = {}
    for key, splits in splits_of_key.items():
        value = getattr(data, key)
        if value is None:
            continue
        source = locate_source(task, key, value, suffixes)
        files = []
        for split in splits:
            files += find_split_files(source, task.folder, split)
        sources[key] = (source, [source] if source.is_file() else files)
    return sources


def must_hold_out(task: TaskConfig, data: DataConfig, split: str, suffixes: Iterable[str] = READERS) -> bool:
    """Return whether a split is a side of the training rows, because no validation rows are given beside them."""
    source = getattr(data, task.source)
    if source is None or getattr(data, f"{task.source}_validation") is not None:
        return False
    if split not in ("train", "validation") or "validation" not in task.eval_splits:
        return False
    return not find_split_files(locate_source(task, task.source, source, suffixes), task.folder, "validation")


def files_of_split(
    task: TaskConfig, key: str, source: Path, split: str, *, suffix: str, accepted: Iterable[str]
) -> list[Path]:
    """Return the files of a split: a source that is a file is itself one split, as its key says.

    Args:
        task: the task.
        key: the key below `data.` that names the source; one that ends in `_validation` names validation rows.
        source: the file or directory.
        split: the split.
        suffix: a suffix that its files may have, for messages.
        accepted: the suffixes that are accepted, for messages.

    Raises:
        GeloraError: the source has no such split, or several files could be it.
    """
    files = find_split_files(source, task.folder, split)
    split_of_a_file = "validation" if key.endswith("_validation") else "train"
    if source.is_file() and split == split_of_a_file:
        files = [source]
    if not files:
        raise GeloraError(
            f"data.{key}={source} has no split {split}. A file has train and validation; a directory has the splits "
            f"that lie in it, in data/ or in task.folder=NAME, as {split}-*.parquet or {split}{suffix} (accepted: "
            f"{', '.join(accepted)})"
        )
    return files


def find_split_files(source: Path, folder: str | None, split: str) -> list[Path]:
    """Return the files of a split in a directory: in `folder` if it is given, else at the top or in `data`.

    Raises:
        GeloraError: several files could be the split.
    """
    directories = [source / folder] if folder else [source, source / "data"]
    for directory in directories:
        names = sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []
        of_split = [name for name in names if name.startswith((f"{split}.", f"{split}-"))]
        readable = [name for name in of_split if Path(name).suffix.lower() in READERS]
        # Parts of one split are named train-00000-of-00002; train.csv is a split of its own.
        if len(readable) > 1 and any(name.startswith(f"{split}.") for name in readable):
            raise GeloraError(
                f"{directory} has {join_names(readable)}: which is split {split}? Leave one, or name a file."
            )
        if readable:
            return [directory / name for name in readable]
    return []


def _hub_patterns(task: TaskConfig) -> list[str]:
    """Return the patterns of the files that the task needs of a hub data set."""
    folders = [f"{task.folder}/"] if task.folder else ["", "data/"]
    patterns = []
    for folder in folders:
        for split in ("train", *task.eval_splits, *task.test_splits):
            patterns += [f"{folder}{split}-*", f"{folder}{split}.*"]
    return patterns
