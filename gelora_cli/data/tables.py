"""A task's parquet files in the hub's layout, read as they are now: no cache, no script, no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gelora_cli.artifacts import GeloraError

if TYPE_CHECKING:
    from datasets import Dataset


def folder(task: Any) -> str:
    """The task's folder in a data set: the hub's name of its configuration."""
    return str(task.folder or task.name)


def read_table(directory: Path, task: Any, split: str) -> Dataset:
    """All rows of `<directory>/<folder>/<split>-*.parquet`.

    Raises:
        GeloraError: no such directory, task or split, or a damaged file.
    """
    import pyarrow
    import pyarrow.parquet
    from datasets import Dataset

    with _parquet(directory, task, split) as files:
        return Dataset(pyarrow.concat_tables([pyarrow.parquet.read_table(path) for path in files]))


def row_count(directory: Path, task: Any, split: str) -> int:
    """How many rows `<directory>/<folder>/<split>-*.parquet` have, without reading them.

    Raises:
        GeloraError: as `read_table`.
    """
    import pyarrow.parquet

    with _parquet(directory, task, split) as files:
        return sum(int(pyarrow.parquet.read_metadata(path).num_rows) for path in files)


@contextmanager
def _parquet(directory: Path, task: Any, split: str) -> Iterator[list[Path]]:
    """The files of a split, and a message for what can't be read of them."""
    import pyarrow

    files = sorted((directory / folder(task)).glob(f"{split}-*.parquet"))
    if not files:
        raise GeloraError(_missing(directory, task, split))
    try:
        yield files
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise GeloraError(f"{files[0]} can't be read as parquet: {error}. Fetch the data again.") from error


def available_splits(directory: Path, name: str) -> list[str]:
    """The splits that a task's folder holds."""
    return sorted({path.name.split("-")[0] for path in (directory / name).glob("*-*.parquet")})


def check_columns(table: Dataset, needed: Sequence[str], task: Any, split: str, directory: Path) -> None:
    """Refuse a table that lacks a column.

    Raises:
        GeloraError: the missing columns, and those there are.
    """
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        or_name_them = ", or set task.columns" if set(missing) & set(task.columns) else ""
        raise GeloraError(
            f"task={task.name}, split {split} of {directory}: no column {', '.join(missing)}; it has "
            f"{', '.join(table.column_names)}. Rename the columns{or_name_them}"
        )


def _missing(directory: Path, task: Any, split: str) -> str:
    key, name = f"data.{task.source}", folder(task)
    if not directory.is_dir():
        return f"{key}={directory}: no such directory; give a hub id, or an existing directory in the hub's layout"
    found = sorted(path.name for path in directory.iterdir() if available_splits(directory, path.name))
    if name not in found:
        held = ", ".join(found) or "none"
        return f"{key}={directory} has no task {name}: it holds {held}; expected {name}/{split}-*.parquet"
    return f"{key}={directory}: {name} has no split {split}; it holds {', '.join(available_splits(directory, name))}"
