"""`gelora ls` and the end of a sweep: runs or jobs as a table, a line each; no torch.

`describe_runs` and `format_runs` are the entry points of `gelora ls`, `format_jobs` that of a sweep.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gelora_cli.report.runs import DAMAGED, OTHER_VERSION, Run, UnusedRun, age_seconds
from gelora_cli.report.text_table import format_table

HEADER = ("status", "value", "metric", "age", "run")
LEFT_OUT_FIRST = ("metric", "age")
"""Columns that a narrow terminal does without."""

JOBS_HEADER = ("job", "what happened", "value", "seconds", "directory or message")
JOBS_LEFT_OUT_FIRST = ("seconds",)

AGE_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
"""Units of an age and their seconds, the longest first."""


@dataclass(frozen=True)
class ListedRun:
    """What `gelora ls --json` says of a run; None where the run has no such value.

    Attributes:
        run: its path below the listed directory.
        error: why it failed or can't be read.
        on_holdout: whether the value is on held-out training rows.
        same_as: the run that was trained in its place, by its path below the listed directory.
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
    on_holdout: bool = False


def describe_runs(directory: Path, runs: Iterable[Run | UnusedRun]) -> list[ListedRun]:
    """Return what there is to say of each of the runs below a directory."""
    listed = []
    for run in runs:
        name = str(run.directory.relative_to(directory))
        if isinstance(run, UnusedRun):
            age = None if run.updated is None else age_seconds(run.updated)
            listed.append(ListedRun(name, run.status, age_seconds=age, error=run.reason or None))
            continue
        same_as = run.manifest.same_as  # a path from the run's directory
        if same_as is not None:
            same_as = os.path.normpath(os.path.relpath(run.directory / same_as, directory))
        listed.append(
            ListedRun(
                run=name,
                status="done",
                value=run.result.value,
                metric=run.result.reported,
                collapsed=run.result.collapsed,
                age_seconds=age_seconds(run.manifest.updated),
                smoke=run.result.smoke,
                on_holdout=run.result.on_holdout,
                same_as=same_as,
            )
        )
    return listed


def format_runs(directory: Path, runs: Sequence[ListedRun], *, width: int | None = None) -> str:
    """Return a row per run: status, reported value, its metric, age, path below `directory`.

    Args:
        directory: where the runs are.
        runs: what there is to say of each.
        width: of the terminal; None where all is shown, as in a pipe.
    """
    if not runs:
        return f"no runs in {directory}"
    rows = []
    for run in runs:
        status = run.status
        if run.smoke:
            status += " smoke"
        if run.on_holdout:
            status += " holdout"
        if run.collapsed:
            status += " collapsed"
        value = "-" if run.value is None else f"{run.value:.4f}"
        age = "-" if run.age_seconds is None else format_age(run.age_seconds)
        name = run.run
        if run.status in (DAMAGED, OTHER_VERSION):  # of a failed run the error is in its log, and often long
            name += f": {run.error}"
        if run.same_as:
            name += f": the same run as {run.same_as}"
        rows.append((status, value, run.metric or "-", age, name))
    return format_table(HEADER, rows, width=width, optional=LEFT_OUT_FIRST)


def format_age(seconds: int) -> str:
    """Return an age in the longest unit of which there is at least one: `3 h`."""
    for unit, size in AGE_UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return "0 s"


@dataclass(frozen=True)
class Job:
    """One job of a sweep and what happened to it; `where` is its run directory, and its message if it failed."""

    label: str
    state: str
    value: float | None = None
    seconds: float | None = None
    where: str = "-"


def format_jobs(jobs: Sequence[Job], *, width: int | None = None) -> str:
    """Return a row per job of a sweep, in their order; `width` is that of the terminal."""
    rows = []
    for job in jobs:
        value = "-" if job.value is None else f"{job.value:.4f}"
        seconds = "-" if job.seconds is None else f"{job.seconds:.0f}"
        rows.append((job.label or "-", job.state, value, seconds, " ".join(job.where.split())))
    return format_table(JOBS_HEADER, rows, width=width, optional=JOBS_LEFT_OUT_FIRST)
