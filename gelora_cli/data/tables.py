"""Read a task's parquet files in the hub's layout, as they are now: no cache, no script, no network.

The layout is `<directory>/<folder>/<split>-*.parquet`.
"""

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
    """Return the task's folder in a data set, which the hub calls the name of a configuration."""
    return str(task.folder or task.name)


def read_table(
    directory: Path, task: TaskConfig, split: str, needed: Sequence[str], *, optional: Sequence[str] = ()
) -> ParquetColumns:
    """Read columns of all rows of a split; the files may lack the `optional` ones.

    Raises:
        GeloraError: no such directory, task or split, a damaged file, or a needed column that is missing.
    """
    with _find_parquet_files(directory, task, split) as files:
        table = read_parquet(files, [*needed, *optional], fix="Fetch the data again.")
    missing = [name for name in needed if name not in table.columns]
    if missing:
        # Only the columns of texts can be named by a setting.
        or_name_them = ", or name the right ones by task.columns=[...]" if set(missing) & set(task.columns) else ""
        raise GeloraError(
            f"task={task.name}, split {split} of {directory}: no column {join_names(missing)}; it has "
            f"{join_names(table.names)}. Rename the columns{or_name_them}"
        )
    return table


def read_texts(table: ParquetColumns, column: str) -> Iterator[str]:
    """Yield a column of texts, in which a missing value is the empty text.

    Raises:
        GeloraError: a value is not a text.
    """
    for row, value in enumerate(table.values(column), 1):
        text = "" if value is None else value
        if not isinstance(text, str):
            raise GeloraError(
                f"{table.where}, row {row}: {quote_name(column)} must be a text, not {quote(value)}. Write the column "
                "as strings"
            )
        yield text


def count_rows(directory: Path, task: TaskConfig, split: str) -> int:
    """Return the number of rows of a split, without reading them.

    Raises:
        GeloraError: no such directory, task or split, or a damaged file.
    """
    import pyarrow.parquet

    # The number of rows stands in the metadata at the end of a file.
    with _find_parquet_files(directory, task, split) as files:
        return sum(int(pyarrow.parquet.read_metadata(path).num_rows) for path in files)


@contextmanager
def _find_parquet_files(directory: Path, task: TaskConfig, split: str) -> Iterator[list[Path]]:
    """Give the files of a split, and turn what reading them raises into a message for the user."""
    import pyarrow

    folder = directory / task_folder(task)
    files = sorted(folder.glob(f"{split}-*.parquet")) if is_directory(folder) else []
    if not files:
        raise GeloraError(_explain_missing_split(directory, task, split))
    try:
        yield files
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise GeloraError(
            f"{files[0]} can't be read as parquet: {str(error)[:200].rstrip('.')}. Fetch the data again."
        ) from error


def available_splits(directory: Path, name: str) -> list[str]:
    """Return the splits that a task's folder holds."""
    return sorted({path.name.split("-")[0] for path in (directory / name).glob("*-*.parquet")})


def _explain_missing_split(directory: Path, task: TaskConfig, split: str) -> str:
    """Return which of directory, task and split is missing, and what the directory holds."""
    key = f"data.{task.source}"
    name = task_folder(task)
    has_questions = TASK_KINDS.get(task.kind).target == "answers"
    or_json = "; or give a file or directory of SQuAD's own JSON (FILE.json, train.json)" if has_questions else ""
    if not is_directory(directory):
        accepted = f"give a hub id, or an existing directory in the hub's layout{or_json}"
        return f"{key}={quote_path(directory)}: no such directory; {accepted}"
    tasks = sorted(path.name for path in directory.iterdir() if available_splits(directory, path.name))
    if name not in tasks:
        available = join_names(tasks) or "none"
        return f"{key}={directory} has no task {name}: it holds {available}; expected {name}/{split}-*.parquet{or_json}"
    splits = join_names(available_splits(directory, name))
    return f"{key}={directory}: {name} has no split {split}; it holds {splits}"
