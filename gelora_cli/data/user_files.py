"""Where your own data is: which files a source and a split stand for."""

from __future__ import annotations

from pathlib import Path

from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_names, quote_path
from gelora_cli.data.delimited import Dialect
from gelora_cli.data.files import READERS
from gelora_cli.data.hub import fetch_dataset
from gelora_cli.data.paths import exists


def dialect_of(data: DataConfig) -> Dialect:
    """Return how the user says that CSV files are written."""
    return Dialect(data.separator, data.quoting)


def locate_source(task: TaskConfig, key: str, given: str | None) -> Path:
    """The file or directory that a key names; of a hub id its snapshot."""
    if given is None:
        raise GeloraError(
            f"task={task.name} needs data: give data.{key}=FILE ({', '.join(READERS)}), a directory in the hub's "
            "layout or a hub id, and task.columns=[...] task.label=... for its columns"
        )
    path = Path(given)
    if path.is_absolute():
        known = ", ".join(READERS)
        if not exists(path):
            raise GeloraError(f"data.{key}={quote_path(given)}: no such file or directory; accepted: {known}")
        if not path.is_file() and not path.is_dir():
            raise GeloraError(
                f"data.{key}={quote_path(given)} is neither a file nor a directory, and rows are read more than once; "
                f"write them to a file first: {known}"
            )
        return path
    names = [f"{split}{rest}" for split in ("train", *task.eval_splits, *task.test_splits) for rest in ("-*", ".*")]
    folders = [f"{task.folder}/"] if task.folder else ["", "data/"]
    return fetch_dataset(given, [folder + name for folder in folders for name in names], f"data.{key}")


def split_files(place: Path, folder: str | None, split: str) -> list[Path]:
    """The files of a split in a directory: at its top or in `data`, or in the named folder."""
    for directory in [place / folder] if folder else [place, place / "data"]:
        names = sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []
        found = [name for name in names if name.startswith((f"{split}.", f"{split}-")) and Path(name).suffix in READERS]
        if len(found) > 1 and any(name.startswith(f"{split}.") for name in found):
            raise GeloraError(
                f"{directory} has {join_names(found)}: which is split {split}? Leave one, or name a file."
            )
        if found:
            return [directory / name for name in found]
    return []
