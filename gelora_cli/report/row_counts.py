"""Which rows a task was trained and evaluated on, where they are not as many as GLUE's; no torch."""

from __future__ import annotations

from collections.abc import Iterable

from gelora_cli.data.glue_sizes import GLUE_ROWS
from gelora_cli.report.rows import Row


def glue_note(rows: Iterable[Row]) -> str:
    """Say of which tasks the numbers of rows are not those of GLUE; empty where all are, or the tasks are others.

    Equal numbers are no proof of equal rows, but a cut data set and another corpus have others.
    """
    differences = list(dict.fromkeys(filter(None, map(_difference, rows))))
    if not differences:
        return ""
    return f"Not comparable with published results on GLUE, which has other numbers of rows: {'; '.join(differences)}."


def _difference(row: Row) -> str:
    """Return the rows of one task of GLUE beside those that are published; empty where they are as many."""
    published = GLUE_ROWS.get(row.task)
    if published is None or (row.training_examples, row.evaluated_examples) == published:
        return ""
    if row.training_examples is None:
        trained = f"for {row.runs[0].result.train.steps:,} steps"
    else:
        trained = f"on {row.training_examples:,} rows"
    held_out = " held-out training rows" if row.on_holdout else ""
    return (
        f"{row.task} is trained {trained} and evaluated on {row.evaluated_examples:,}{held_out} "
        f"(GLUE: {published.training:,} and {published.evaluated:,})"
    )
