"""`gelora ls`: runs below a directory as a table or as JSON; no torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gelora_cli.core.messages import escape_controls
from gelora_cli.report.runs import DAMAGED, OTHER_VERSION, Run, Unused, age_seconds

HEADER = ("status", "value", "metric", "age", "run")
LONGEST_CELL = 700
JOBS_HEADER = ("job", "what happened", "value", "seconds", "directory or message")


@dataclass(frozen=True)
class Listed:
    """One run; what it has no value for is None, and `error` says why it failed or can't be read.

    `same_as` is the run that was trained in its stead, by its path below the listed directory.
    """

    run: str
    status: str
    value: float | None = None
    metric: str | None = None
    collapsed: bool = False
    age_seconds: int | None = None
    error: str | None = None
    smoke: bool = False
    same_as: str | None = None


def listed_runs(directory: Path, examined: Iterable[Run | Unused]) -> list[Listed]:
    """Return what there is to say of each of the runs below a directory."""
    return [_listed(run, directory) for run in examined]


def list_runs(directory: Path, runs: Sequence[Listed]) -> str:
    """Return a row per run: status, reported value, its metric, age, path below `directory`."""
    if not runs:
        return f"no runs in {directory}"
    return aligned(HEADER, [_row(run) for run in runs])


@dataclass(frozen=True)
class Job:
    """One job of a sweep and what happened to it; `where` is its run directory, and its message if it failed."""

    label: str
    state: str
    value: float | None = None
    seconds: float | None = None
    where: str = "-"


def list_jobs(jobs: Sequence[Job]) -> str:
    """A row per job of a sweep, in their order."""
    rows = []
    for job in jobs:
        value = "-" if job.value is None else f"{job.value:.4f}"
        seconds = "-" if job.seconds is None else f"{job.seconds:.0f}"
        rows.append((job.label or "-", job.state, value, seconds, " ".join(job.where.split())))
    return aligned(JOBS_HEADER, rows)


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, two blanks apart; a cell is one line that no terminal obeys.

    A cell of more than `LONGEST_CELL` characters is cut, since every other one of its column is padded to it.
    """
    rows = [[_cell(text) for text in row] for row in rows]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def _cell(text: str) -> str:
    text = escape_controls(text, one_line=True)
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..."


def _listed(run: Run | Unused, directory: Path) -> Listed:
    name = str(run.directory.relative_to(directory))
    if isinstance(run, Unused):
        age = None if run.updated is None else age_seconds(run.updated)
        return Listed(name, run.status, age_seconds=age, error=run.reason or None)
    result = run.result
    age = age_seconds(run.manifest.updated)
    same_as = _same_as(run, directory)
    return Listed(
        name, "done", result.value, result.reported, result.collapsed, age, smoke=result.smoke, same_as=same_as
    )


def _same_as(run: Run, directory: Path) -> str | None:
    """Return the run that was trained in the stead of this one, by its path from `directory`."""
    same_as = run.manifest.same_as
    return same_as and os.path.normpath(os.path.relpath(run.directory / same_as, directory))


def _row(run: Listed) -> tuple[str, ...]:
    value = "-" if run.value is None else f"{run.value:.4f}"
    age = "-" if run.age_seconds is None else _age(run.age_seconds)
    name = f"{run.run}: {run.error}" if run.status in (DAMAGED, OTHER_VERSION) else run.run
    name += f": the same run as {run.same_as}" if run.same_as else ""
    return (run.status + " smoke" * run.smoke + " collapsed" * run.collapsed, value, run.metric or "-", age, name)


def _age(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
