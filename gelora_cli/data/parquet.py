"""Columns of parquet files: only those that are used are read, and a value that can't be read is named by its row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import quote, quote_name

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class ParquetColumns:
    """The wanted columns of one or several files that are there; `names` are those of all columns.

    `classes` are the names of class labels (code 0, 1, ...) of columns that the hub's metadata describes so.
    """

    names: tuple[str, ...]
    rows: int
    columns: dict[str, pyarrow.ChunkedArray]
    classes: dict[str, list[str]]
    where: str

    def values(self, column: str) -> Iterator[Any]:
        """Yield a column's values, one chunk in memory at a time.

        Raises:
            GeloraError: a value that Python can't hold (invalid UTF-8, a date beyond its calendar), with its row.
        """
        first = 1
        for chunk in self.columns[column].chunks:
            try:
                values = chunk.to_pylist()
            except Exception as error:
                raise GeloraError(self._unreadable(column, chunk, first)) from error
            yield from values
            first += len(chunk)

    def _unreadable(self, column: str, chunk: pyarrow.Array, first: int) -> str:
        for row, value in enumerate(chunk):
            try:
                value.as_py()
            except Exception as error:
                return (
                    f"{self.where}, row {first + row}: column {quote_name(column)} can't be read "
                    f"({type(error).__name__}: {str(error)[:120]}); correct that value"
                )
        return f"{self.where}: column {quote_name(column)} can't be read; write the file again"


def read_parquet(paths: Sequence[Path], wanted: Sequence[str], *, fix: str = "Write the file again.") -> ParquetColumns:
    """Read the wanted columns of files that hold one table in parts; those that a file lacks are left out.

    Raises:
        GeloraError: a damaged file, a wanted column that is there twice, or parts with columns of other types.
    """
    import pyarrow
    import pyarrow.parquet

    tables = []
    names: tuple[str, ...] = ()
    for path in paths:
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                names = tuple(file.schema_arrow.names)
                _refuse_twice(names, wanted, path)
                tables.append(file.read(columns=[name for name in dict.fromkeys(wanted) if name in names]))
        except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise GeloraError(f"{path} can't be read as parquet: {str(error)[:200]}. {fix}") from error
    where = str(paths[0]) if len(paths) == 1 else f"{paths[0].parent}, the rows of {paths[0].name} to {paths[-1].name}"
    columns: dict[str, pyarrow.ChunkedArray] = {}
    classes: dict[str, list[str]] = {}
    for name in dict.fromkeys(wanted):
        if not all(name in table.column_names for table in tables):
            continue
        found = [table.column(name) for table in tables]
        if len({column.type for column in found}) > 1:
            types = ", ".join(dict.fromkeys(str(column.type)[:60] for column in found))
            raise GeloraError(f"{where}: column {quote_name(name)} is of several types: {types}. {fix}")
        columns[name] = pyarrow.chunked_array([chunk for column in found for chunk in column.chunks], found[0].type)
        described = [class_names(table.schema.metadata, name) for table in tables]
        if any(labels != described[0] for labels in described):
            raise GeloraError(f"{where}: the files name the classes of {quote_name(name)} differently. {fix}")
        if described[0]:
            classes[name] = described[0]
    return ParquetColumns(names, sum(table.num_rows for table in tables), columns, classes, where)


def class_names(metadata: dict[bytes, bytes] | None, column: str) -> list[str]:
    """Return the names of a class label column in the hub's metadata; none where it says nothing readable of it."""
    try:
        described = json.loads((metadata or {})[b"huggingface"])
        names = described["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []
    is_named = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return list(names) if is_named else []


def _refuse_twice(names: Sequence[str], wanted: Sequence[str], path: Path) -> None:
    for name in wanted:
        if names.count(name) > 1:
            raise GeloraError(f"{path}: two columns of one name: {quote(name)}; rename one")
