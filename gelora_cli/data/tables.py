"""A task's parquet files in the hub's layout, read as they are now: no cache, no script, no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_names, quote, quote_name, quote_path
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.data.parquet import ParquetColumns, read_parquet
from gelora_cli.data.paths import is_directory


def task_folder(task: TaskConfig) -> str:
    """The task's folder in a data set: the hub's name of its configuration."""
    return str(task.folder or task.name)


def read_table(
    directory: Path, task: TaskConfig, split: str, needed: Sequence[str], *, optional: Sequence[str] = ()
) -> ParquetColumns:
    """Read columns of all rows of `<directory>/<folder>/<split>-*.parquet`, which may lack the `optional` ones.

    Raises:
        GeloraError: no such directory, task or split, a damaged file, or a needed column that is missing.
    """
    with _parquet(directory, task, split) as files:
        table = read_parquet(files, [*needed, *optional], fix="Fetch the data again.")
    missing = [name for name in needed if name not in table.columns]
    if missing:
        or_name_them = ", or set task.columns" if set(missing) & set(task.columns) else ""
        raise GeloraError(
            f"task={task.name}, split {split} of {directory}: no column {join_names(missing)}; it has "
            f"{join_names(table.names)}. Rename the columns{or_name_them}"
        )
    return table


def read_texts(table: ParquetColumns, column: str) -> Iterator[str]:
    """Yield a column of texts; what is missing is the empty text.

    Raises:
        GeloraError: a value that is no text, with its row.
    """
    for row, value in enumerate(table.values(column), 1):
        text = "" if value is None else value
        if not isinstance(text, str):
            raise GeloraError(
                f"{table.where}, row {row}: no text in {quote_name(column)}, but {quote(value)}; give strings"
            )
        yield text


def count_rows(directory: Path, task: TaskConfig, split: str) -> int:
    """How many rows `<directory>/<folder>/<split>-*.parquet` have, without reading them.

    Raises:
        GeloraError: as `read_table`.
    """
    import pyarrow.parquet

    with _parquet(directory, task, split) as files:
        return sum(int(pyarrow.parquet.read_metadata(path).num_rows) for path in files)


@contextmanager
def _parquet(directory: Path, task: TaskConfig, split: str) -> Iterator[list[Path]]:
    """The files of a split, and a message for what can't be read of them."""
    import pyarrow

    place = directory / task_folder(task)
    files = sorted(place.glob(f"{split}-*.parquet")) if is_directory(place) else []
    if not files:
        raise GeloraError(_missing(directory, task, split))
    try:
        yield files
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise GeloraError(f"{files[0]} can't be read as parquet: {str(error)[:200]}. Fetch the data again.") from error


def available_splits(directory: Path, name: str) -> list[str]:
    """The splits that a task's folder holds."""
    return sorted({path.name.split("-")[0] for path in (directory / name).glob("*-*.parquet")})


def _missing(directory: Path, task: TaskConfig, split: str) -> str:
    key, name = f"data.{task.source}", task_folder(task)
    is_answering = TASK_KINDS.get(task.kind).target == "answers"
    own = "; or give a file or directory of SQuAD's own JSON (FILE.json, train.json)" if is_answering else ""
    if not is_directory(directory):
        fix = f"give a hub id, or an existing directory in the hub's layout{own}"
        return f"{key}={quote_path(directory)}: no such directory; {fix}"
    found = sorted(path.name for path in directory.iterdir() if available_splits(directory, path.name))
    if name not in found:
        held = join_names(found) or "none"
        return f"{key}={directory} has no task {name}: it holds {held}; expected {name}/{split}-*.parquet{own}"
    return f"{key}={directory}: {name} has no split {split}; it holds {join_names(available_splits(directory, name))}"
