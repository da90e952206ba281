"""A grid of runs as one table: mean and standard deviation over seeds, costs, collapsed seeds; no torch."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gelora_cli.artifacts import GeloraError, RankPlan, RunManifest, RunResult, read_artifact
from gelora_cli.config import identity_values, read_config
from gelora_cli.planning import METHODS
from gelora_cli.ranks import EXEMPT_BUDGET
from gelora_cli.report.listing import aligned
from gelora_cli.rundir import CONFIG, check_intact, find_runs, is_done

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
    "profile s",
    "train s",
    "peak MB",
    "collapsed",
)


Cell = tuple[str, str, str, str, tuple[tuple[str, str], ...], str]


@dataclass(frozen=True)
class Run:
    """A finished run, as far as the table needs it; `settings` are those beside its seed and method."""

    result: RunResult
    plan: RankPlan
    peak_bytes: int | None
    settings: tuple[tuple[str, str], ...]

    @property
    def cell(self) -> Cell:
        """What the runs of a row have in common."""
        result = self.result
        return (result.task, result.model, result.budget, result.protocol, self.settings, result.method)


def grid_table(directories: Sequence[Path]) -> str:
    """A row per task, model, budget, protocol, settings and method, over the seeds of the finished runs there.

    The standard deviation is that of a sample (n - 1), `-` for one seed. Collapsed seeds stay in the mean. `adapter`
    are the parameters left at the end, the most of all seeds; `peak trained` those trained at the most. `profile s` is
    what passes before the first step: the profile, measured once for all runs that share it, and attaching. A control
    whose plan is GeLoRA's for every seed has no row of its own: GeLoRA's is named after both. Where rows of a method
    differ in a setting, such as the learning rate, their names say it.
    """
    cells: dict[Cell, list[Run]] = {}
    for run in finished(directories):
        cells.setdefault(run.cell, []).append(run)
    names = _merged(cells)
    ordered = sorted(names.items(), key=lambda item: _place(item[0]))
    rows = [_row(name + _differing(cell, cells), cells[cell]) for cell, name in ordered]
    return aligned(HEADER, rows) if rows else ""


def _place(cell: Cell) -> tuple[Any, ...]:
    """Where a row stands: by task, model, budget and protocol, exempt methods last, in the order of the methods."""
    task, model, budget, protocol, settings, method = cell
    order = METHODS.index(method) if method in METHODS else len(METHODS)
    return (task, model, budget == EXEMPT_BUDGET, budget, protocol, order, settings)


def finished(directories: Sequence[Path]) -> list[Run]:
    """The finished runs at or below these directories; what can't be read is left to `gelora ls` to name."""
    paths = dict.fromkeys(path for directory in directories for path in find_runs(directory) if is_done(path))
    found = []
    for path in paths:
        try:
            check_intact(path)
            manifest = read_artifact(RunManifest, path / RunManifest.FILE)
            result, plan = (
                read_artifact(RunResult, path / RunResult.FILE),
                read_artifact(RankPlan, path / RankPlan.FILE),
            )
            found.append(Run(result, plan, manifest.peak_bytes, _settings(path, manifest.precision)))
        except GeloraError:
            continue
    return found


def _settings(directory: Path, precision: str) -> tuple[tuple[str, str], ...]:
    """What of the frozen configuration can change a number, as key and text, without what a row says anyway."""
    values = identity_values(replace(read_config(directory / CONFIG), precision=precision))
    said = ("seed", "budget", "method.name")
    return tuple(sorted((key, value) for key, value in flat(values).items() if key not in said))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as `a.b.c` to text."""
    found: dict[str, str] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": str(value)}
    return found


def _merged(cells: dict[Cell, list[Run]]) -> dict[Cell, str]:
    """The cells that get a row, and the name of its method."""
    names = {cell: cell[-1] for cell in cells}
    for cell, runs in sorted(cells.items()):
        twin: Cell = (*cell[:-1], "gelora")
        if cell != twin and twin in cells and all(run.plan.ranks == run.plan.gelora_ranks for run in runs):
            names[twin] += f" = {names.pop(cell)}"
    return names


def _differing(cell: Cell, cells: Iterable[Cell]) -> str:
    """The settings in which the rows of one method differ, as this row has them."""
    others = [dict(other[4]) for other in cells if (*other[:4], other[5]) == (*cell[:4], cell[5])]
    mine = dict(cell[4])
    keys = [key for key in mine if any(other.get(key) != mine[key] for other in others)]
    return f" ({', '.join(f'{key}={mine[key]}' for key in keys)})" if keys else ""


def _row(name: str, runs: Sequence[Run]) -> tuple[str, ...]:
    values, adapters = [run.result.value for run in runs], [run.result.adapter_params for run in runs]
    first, protocol = runs[0].result, runs[0].result.protocol
    budget = runs[0].plan.budget_params
    peaks = [run.peak_bytes for run in runs if run.peak_bytes]
    share = f"{100 * max(adapters) / budget:.1f} %" if budget else "-"
    return (
        first.task,
        first.model,
        first.budget + ("" if protocol == "last" else f" ({protocol})"),
        name,
        first.reported,
        f"{statistics.mean(values):.4f}",
        f"{statistics.stdev(values):.4f}" if len(values) > 1 else "-",
        str(len(runs)),
        f"{max(adapters):,}",
        share,
        f"{max(run.result.trained_params for run in runs):,}",
        f"{statistics.mean(run.result.profile_seconds + run.result.attach_seconds for run in runs):.1f}",
        f"{statistics.mean(run.result.train_seconds for run in runs):.1f}",
        f"{max(peaks) / 1e6:.0f}" if peaks else "-",
        str(sum(run.result.collapsed for run in runs)),
    )
