"""A grid of runs as one table: mean and standard deviation over seeds, costs, collapsed seeds; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from gelora_cli.report.rows import Row, make_rows
from gelora_cli.report.runs import Run, collect
from gelora_cli.report.text_table import format_table

HEADER = (
    "task",
    "model",
    "budget",
    "method",
    "metric",
    "mean",
    "sd",
    "seeds",
    "adapter",
    "of budget",
    "peak trained",
    "setup s",
    "train s",
    "peak MB",
    "collapsed",
)
LEFT_OUT_FIRST = (
    "peak MB",
    "setup s",
    "peak trained",
    "of budget",
    "train s",
    "collapsed",
    "adapter",
    "metric",
    "budget",
    "model",
)
"""Columns that a narrow terminal does without, in this order."""


def grid_table(directories: Sequence[Path], *, width: int | None = None) -> str:
    """Return the table of the finished runs at or below these directories; see `runs_table`.

    Their files are not compared with their checksums: the jobs of a sweep have just done that.
    """
    return runs_table(collect(directories, verify=False).runs, width=width)


def runs_table(runs: Iterable[Run], *, width: int | None = None) -> str:
    """Return a line per row of finished runs (see `make_rows`).

    The standard deviation is that of a sample (n - 1), `-` for one seed. Collapsed seeds stay in the mean. `adapter`
    are the parameters left at the end, the most of all seeds; `peak trained` the most that ever trained. `setup s` is
    the profile, measured once for all runs that share it (0 for `lora`), and attaching.

    Args:
        runs: finished runs.
        width: of the terminal; None where all columns are shown, as in a pipe.
    """
    rows = [_cells(row) for row in make_rows(runs)]
    if not rows:
        return ""
    return format_table(HEADER, rows, width=width, optional=LEFT_OUT_FIRST, wrapped="method")


def _cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a row in the order of `HEADER`."""
    return (
        row.task,
        row.model,
        row.budget if row.protocol == "last" else f"{row.budget} ({row.protocol})",
        f"{row.name} ({row.linked} linked)" if row.linked else row.name,
        row.metric,
        f"{row.mean:.4f}",
        "-" if row.sd is None else f"{row.sd:.4f}",
        str(len(row.runs)),
        f"{row.adapter_params:,}",
        "-" if row.share is None else f"{row.share:.1f} %",
        f"{row.trained_params:,}",
        f"{row.start_seconds:.1f}",
        f"{row.train_seconds:.1f}",
        "-" if row.peak_megabytes is None else f"{row.peak_megabytes:.0f}",
        str(row.collapsed),
    )
