"""A grid of runs as one table: mean and standard deviation over seeds, costs, collapsed seeds; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from gelora_cli.report.listing import aligned
from gelora_cli.report.rows import Row, rows_of
from gelora_cli.report.runs import Run, collect

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


def grid_table(directories: Sequence[Path]) -> str:
    """The table of the finished runs at or below these directories; see `runs_table`."""
    return runs_table(collect(directories).runs)


def runs_table(runs: Iterable[Run]) -> str:
    """A line per row of finished runs (`rows_of`).

    The standard deviation is that of a sample (n - 1), `-` for one seed. Collapsed seeds stay in the mean. `adapter`
    are the parameters left at the end, the most of all seeds; `peak trained` those trained at the most. `setup s`
    is the profile, measured once for all runs that share it (0 for `lora`), and attaching.
    """
    rows = [_cells(row) for row in rows_of(runs)]
    return aligned(HEADER, rows) if rows else ""


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.task,
        row.model,
        row.budget + ("" if row.protocol == "last" else f" ({row.protocol})"),
        row.name + (f" ({row.linked} linked)" if row.linked else ""),
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
