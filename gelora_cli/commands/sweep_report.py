"""What a sweep prints at its end: the grid of finished runs, the cost of a dry run, and a row for each job."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gelora_cli.commands.base import relative
from gelora_cli.core.artifacts.manifest import Estimate
from gelora_cli.core.errors import StoppedError
from gelora_cli.launchers.job import Outcome

UNFINISHED = ("failed", "interrupted", "cancelled", "not started")


def report_sweep(labels: Sequence[str], outcomes: Sequence[Outcome]) -> int:
    """Print the grid of finished runs, then a row for each job with what happened to it; return the exit code.

    Args:
        labels: the label of every job.
        outcomes: the outcomes of the first jobs; those of the others are missing if they were not started.
    """
    from gelora_cli.report.grid import grid_table
    from gelora_cli.report.listing import Job, format_jobs
    from gelora_cli.report.text_table import terminal_width

    finished = [Path(outcome.directory) for outcome in outcomes if outcome.directory and not outcome.code]
    if table := grid_table(finished, width=terminal_width()):
        print(f"\n{table}")
    costs = [Estimate(**outcome.cost) for outcome in outcomes if outcome.cost]
    if costs:
        _print_costs(costs)
    rows = []
    for label, outcome in zip(labels, outcomes, strict=False):  # an interrupted sweep has fewer outcomes than jobs
        directory = str(relative(Path(outcome.directory))) if outcome.directory else ""
        details = ": ".join(part for part in (directory, outcome.message) if part) or "-"
        rows.append(Job(label, outcome.state, outcome.value, outcome.seconds, details))
    rows += [Job(label, "not started") for label in labels[len(outcomes) :]]
    print(f"\n{format_jobs(rows, width=terminal_width())}", flush=True)
    counts = Counter(row.state for row in rows if row.state in UNFINISHED)
    if counts:
        states = ", ".join(f"{count} {state}" for state, count in counts.items())
        print(f"gelora: of {len(labels)} jobs {states}; the same command does what is left", file=sys.stderr)
    if len(outcomes) < len(labels):
        return StoppedError.exit_code
    return max((outcome.code for outcome in outcomes), default=0)


def _print_costs(costs: Sequence[Estimate]) -> None:
    """Print the cost of all runs that are not done; a signal that several runs share counts once."""
    remaining = [cost for cost in costs if not cost.done]
    signal_seconds: dict[str, float] = {}  # by the directory that runs with equal inputs share
    for cost in remaining:
        signal_seconds |= cost.signals
    work_seconds = sum(cost.train_seconds + cost.evaluation_seconds + cost.attach_seconds for cost in remaining)
    processes = max((cost.processes for cost in remaining), default=1)
    peak_gb = max((cost.peak_bytes for cost in remaining), default=0) / 1e9
    print(f"\n{len(remaining)} of {len(costs)} runs to do:")
    print(
        f"  {len(signal_seconds)} profiles and signals, about {sum(signal_seconds.values()):.0f} s in all, and what "
        "they do beside passes over texts"
    )
    print(f"  training and evaluation about {work_seconds / 60:.1f} min; {peak_gb:.2f} GB at most")
    if processes > 1:
        print(f"  minutes are those of one process; up to {processes} share them")
