"""Read columns of parquet files: only those that are used, and with an error that names the row of a broken value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.messages import quote, quote_name

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class ParquetColumns:
    """The wanted columns of one file, or of several that hold one table.

    Attributes:
        names: the names of all columns, wanted or not.
        rows: number of rows.
        columns: the wanted columns that the files have.
        classes: the names of class labels (code 0, 1, ...) of columns that the hub's metadata describes.
        where: the files, for messages.
    """

    names: tuple[str, ...]
    rows: int
    columns: dict[str, pyarrow.ChunkedArray]
    classes: dict[str, list[str]]
    where: str

    def values(self, column: str) -> Iterator[Any]:
        """Yield a column's values, of which one chunk at a time is in memory.

        Raises:
            GeloraError: Python can't hold a value (invalid UTF-8, a date beyond its calendar).
        """
        first_row = 1
        for chunk in self.columns[column].chunks:
            try:
                values = chunk.to_pylist()
            except StoppedError:  # a signal, not a fault of the file
                raise
            except Exception as error:  # pyarrow raises errors of many classes here
                raise GeloraError(self._explain_unreadable(column, chunk, first_row)) from error
            yield from values
            first_row += len(chunk)

    def _explain_unreadable(self, column: str, chunk: pyarrow.Array, first_row: int) -> str:
        """Return the error message of a chunk that can't be read, with the row of its first broken value."""
        for row, value in enumerate(chunk, first_row):
            try:
                value.as_py()
            except Exception as error:
                return (
                    f"{self.where}, row {row}: column {quote_name(column)} can't be read "
                    f"({type(error).__name__}: {str(error)[:120]}); correct that value"
                )
        return f"{self.where}: column {quote_name(column)} can't be read; write the file again"


def read_parquet(paths: Sequence[Path], wanted: Sequence[str], *, fix: str = "Write the file again.") -> ParquetColumns:
    """Read the wanted columns of files that hold one table in parts; a column that a file lacks is left out.

    Args:
        paths: the files, in the order of their rows.
        wanted: names of columns.
        fix: what the user should do about a damaged file, for messages.

    Raises:
        GeloraError: a damaged file, two wanted columns of one name, or parts whose columns have different types.
    """
    import pyarrow
    import pyarrow.parquet

    wanted = tuple(dict.fromkeys(wanted))
    tables = []
    names: tuple[str, ...] = ()
    for path in paths:
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                names = tuple(file.schema_arrow.names)
                for name in wanted:
                    if names.count(name) > 1:  # pyarrow would read one of them
                        raise GeloraError(f"{path}: two columns are named {quote(name)}; rename one of them")
                tables.append(file.read(columns=[name for name in wanted if name in names]))
        except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise GeloraError(f"{path} can't be read as parquet: {str(error)[:200].rstrip('.')}. {fix}") from error
    where = str(paths[0])
    if len(paths) > 1:
        where = f"{paths[0].parent}, the rows of {paths[0].name} to {paths[-1].name}"
    # A column that only some parts have counts as missing.
    columns: dict[str, pyarrow.ChunkedArray] = {}
    classes: dict[str, list[str]] = {}
    for name in wanted:
        if not all(name in table.column_names for table in tables):
            continue
        columns[name] = _join_column([table.column(name) for table in tables], name, where, fix)
        labels = [class_names(table.schema.metadata, name) for table in tables]
        if any(part != labels[0] for part in labels):
            raise GeloraError(f"{where}: the files name the classes of {quote_name(name)} differently. {fix}")
        if labels[0]:
            classes[name] = labels[0]
    return ParquetColumns(names, sum(table.num_rows for table in tables), columns, classes, where)


def class_names(metadata: dict[bytes, bytes] | None, column: str) -> list[str]:
    """Return the class names of a column of labels, or of lists of them, by the hub's metadata; else no name."""
    try:
        description = json.loads((metadata or {})[b"huggingface"])
        feature = description["info"]["features"][column]
        if isinstance(feature, list):  # [ClassLabel], one of the ways in which `datasets` writes a list
            feature = feature[0]
        if "names" not in feature:  # a sequence or list of ClassLabel
            feature = feature["feature"]
        names = feature["names"]
    except (KeyError, IndexError, TypeError, ValueError, RecursionError):
        return []
    is_list_of_names = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return list(names) if is_list_of_names else []


def _join_column(parts: Sequence[pyarrow.ChunkedArray], name: str, where: str, fix: str) -> pyarrow.ChunkedArray:
    """Return one column from its parts, without copying them."""
    import pyarrow

    if len({part.type for part in parts}) > 1:
        types = ", ".join(dict.fromkeys(str(part.type)[:60] for part in parts))
        raise GeloraError(f"{where}: column {quote_name(name)} is of several types: {types}. {fix}")
    chunks = []
    for part in parts:
        chunks += part.chunks
    return pyarrow.chunked_array(chunks, parts[0].type)
