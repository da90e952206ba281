"""A grid of runs as one table: mean and standard deviation over seeds, costs, collapsed seeds; no torch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gelora_cli.artifacts import GeloraError, RankPlan, RunManifest, RunResult, read_artifact
from gelora_cli.report.listing import aligned
from gelora_cli.rundir import find_runs, is_done

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
    "profile s",
    "train s",
    "peak MB",
    "collapsed",
)


@dataclass(frozen=True)
class Run:
    """A finished run, as far as the table needs it."""

    result: RunResult
    plan: RankPlan
    peak_bytes: int | None

    @property
    def cell(self) -> tuple[str, str, str, str, str]:
        """What a row of the table has in common."""
        result = self.result
        return (result.task, result.model, result.budget, result.protocol, result.method)


def grid_table(directories: Sequence[Path]) -> str:
    """A row per task, model, budget, protocol and method, over the seeds of the finished runs at these directories.

    The standard deviation is that of a sample (n - 1), `-` for one seed. Collapsed seeds stay in the mean. A control
    whose plan is GeLoRA's for every seed has no row of its own: GeLoRA's is named after both.
    """
    cells: dict[tuple[str, str, str, str, str], list[Run]] = {}
    for run in finished(directories):
        cells.setdefault(run.cell, []).append(run)
    names = _merged(cells)
    rows = [_row(name, cells[cell]) for cell, name in sorted(names.items())]
    return aligned(HEADER, rows) if rows else ""


def finished(directories: Sequence[Path]) -> list[Run]:
    """The finished runs at or below these directories; what can't be read is left to `gelora ls` to name."""
    paths = dict.fromkeys(path for directory in directories for path in find_runs(directory) if is_done(path))
    found = []
    for path in paths:
        try:
            manifest = read_artifact(RunManifest, path / RunManifest.FILE)
            result, plan = (
                read_artifact(RunResult, path / RunResult.FILE),
                read_artifact(RankPlan, path / RankPlan.FILE),
            )
        except GeloraError:
            continue
        found.append(Run(result, plan, manifest.peak_bytes))
    return found


def _merged(cells: dict[tuple[str, str, str, str, str], list[Run]]) -> dict[tuple[str, str, str, str, str], str]:
    """The cells that get a row, and the name of its method."""
    names = {cell: cell[-1] for cell in cells}
    for cell, runs in sorted(cells.items()):
        twin = (*cell[:-1], "gelora")
        if cell != twin and twin in cells and all(run.plan.ranks == run.plan.gelora_ranks for run in runs):
            names[twin] += f" = {names.pop(cell)}"
    return names


def _row(name: str, runs: Sequence[Run]) -> tuple[str, ...]:
    values = [run.result.value for run in runs]
    first, protocol = runs[0].result, runs[0].result.protocol
    budget = runs[0].plan.budget_params
    peaks = [run.peak_bytes for run in runs if run.peak_bytes]
    share = f"{100 * first.adapter_params / budget:.1f} %" if budget else "-"
    return (
        first.task,
        first.model,
        first.budget + ("" if protocol == "last" else f" ({protocol})"),
        name,
        first.reported,
        f"{statistics.mean(values):.4f}",
        f"{statistics.stdev(values):.4f}" if len(values) > 1 else "-",
        str(len(runs)),
        f"{first.adapter_params:,}",
        share,
        f"{statistics.mean(run.result.profile_seconds for run in runs):.1f}",
        f"{statistics.mean(run.result.train_seconds for run in runs):.1f}",
        f"{max(peaks) / 1e6:.0f}" if peaks else "-",
        str(sum(run.result.collapsed for run in runs)),
    )
