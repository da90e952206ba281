"""Runs of `gelora ls` that a scheduler has: queued, running on another machine, or preempted; no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gelora_cli.launchers.sweep_state import pending_runs
from gelora_cli.report.listing import ListedRun

UNFINISHED = ("running", "interrupted", "failed")
"""What `run.json` says of a run that is to be done."""


def with_queued_runs(directory: Path, listed: Sequence[ListedRun]) -> list[ListedRun]:
    """Return the runs with what the scheduler says of those that are not done, and those that have not begun.

    A run has no directory before it begins. Where its machine decides the precision, its hash is not known yet either,
    and is shown as a star with the label of the job.
    """
    rows = {row.run: row for row in listed}
    below = directory.resolve()
    for places, label, outcome in pending_runs(directory):
        # One of two places may lie elsewhere: where the directory is itself that of a run in one precision.
        names = [str(place.relative_to(below)) for place in places if place.is_relative_to(below)]
        begun = [name for name in names if name in rows]
        for name in begun:
            if rows[name].status in UNFINISHED:
                rows[name] = replace(rows[name], status=outcome.state, error=None)
        if not begun:
            name = names[0] if len(names) == 1 else re.sub(r"[0-9a-f]{8}$", f"* ({label})", names[0])
            rows.setdefault(name, ListedRun(name, outcome.state))
    return [rows[name] for name in sorted(rows)]
