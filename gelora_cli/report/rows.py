"""Runs as rows: a method over its seeds, with what it reached and what it cost; no torch."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gelora_cli.allocation.formatting import EXEMPT_BUDGET
from gelora_cli.config.identity import NUMERICS
from gelora_cli.core.artifacts.result import SMOKE_REMARK, RunResult
from gelora_cli.core.registries import METHODS, METRICS
from gelora_cli.report.runs import Cell, Run, Settings, Unused

CURRENT_NUMERICS = str(NUMERICS)


@dataclass(frozen=True)
class Row:
    """The finished runs of one cell; `name` is its method's, with what sets it apart from other rows of the method.

    `merged` are runs of controls with GeLoRA's plan, whose numbers are not used again. `unfinished` counts runs that
    belong here and give no number, by status. Parameters and memory are the most of all seeds, seconds and examples per
    second their means.
    """

    cell: Cell
    name: str
    runs: tuple[Run, ...]
    unfinished: Mapping[str, int] = field(default_factory=dict)
    merged: tuple[Run, ...] = ()

    @property
    def every_run(self) -> tuple[Run, ...]:
        """Its runs, and those of the controls that are merged into it."""
        return (*self.runs, *self.merged)

    @property
    def task(self) -> str:
        """The task's name."""
        return self.cell[0]

    @property
    def model(self) -> str:
        """The model's name."""
        return self.cell[1]

    @property
    def budget(self) -> str:
        """The budget's canonical text; `exempt` of a method that has none."""
        return self.cell[2]

    @property
    def protocol(self) -> str:
        """How the epoch is selected."""
        return self.cell[3]

    @property
    def method(self) -> str:
        """The method's own name, without settings."""
        return self.cell[5]

    @property
    def smoke(self) -> bool:
        """Whether its runs are short trials on few rows, which no number of a real run is averaged with."""
        return self.runs[0].result.smoke

    @property
    def exempt(self) -> bool:
        """Whether the method has no budget."""
        return self.budget == EXEMPT_BUDGET

    @property
    def metric(self) -> str:
        """The metric that the task reports."""
        return self.runs[0].result.reported

    @property
    def digits(self) -> int:
        """Digits behind the point, as the metric has them; 4 of a plug-in's metric that isn't loaded."""
        metric = self.runs[0].config.task.metric
        return METRICS.get(metric).digits if metric in METRICS else 4

    @property
    def values(self) -> list[float]:
        """The reported value of each seed; collapsed ones are in it."""
        return [run.result.value for run in self.runs]

    @property
    def mean(self) -> float:
        """Over all seeds."""
        return statistics.mean(self.values)

    @property
    def sd(self) -> float | None:
        """Of a sample (n - 1); None for one seed."""
        return statistics.stdev(self.values) if len(self.runs) > 1 else None

    @property
    def collapsed(self) -> int:
        """How many seeds collapsed."""
        return sum(run.result.collapsed for run in self.runs)

    @property
    def linked(self) -> int:
        """How many seeds were not trained again, since a run of another method has the same ranks."""
        return sum(run.manifest.same_as is not None for run in self.runs)

    @property
    def mean_without_collapsed(self) -> float | None:
        """The mean of the other seeds, where some collapsed and some did not."""
        others = [run.result.value for run in self.runs if not run.result.collapsed]
        return statistics.mean(others) if others and self.collapsed else None

    @property
    def adapter_params(self) -> int:
        """Left at the end."""
        return max(run.result.adapter_params for run in self.runs)

    @property
    def trained_params(self) -> int:
        """Trained at the most."""
        return max(run.result.trained_params for run in self.runs)

    @property
    def head_params(self) -> int:
        """Of the head, which no budget counts."""
        return max(run.result.head_params for run in self.runs)

    @property
    def budget_params(self) -> int | None:
        """The bound in parameters; None of `auto` and exempt methods."""
        return self.runs[0].plan.budget_params

    @property
    def share(self) -> float | None:
        """Of the budget, in percent."""
        return 100 * self.adapter_params / self.budget_params if self.budget_params else None

    @property
    def start_seconds(self) -> float:
        """Before the first step: the profile, measured once for all runs that share it, and attaching."""
        return statistics.mean(profile_seconds(run.result) + run.result.attach_seconds for run in self.runs)

    @property
    def train_seconds(self) -> float:
        """Of training."""
        return statistics.mean(run.result.train_seconds for run in self.runs)

    @property
    def peak_megabytes(self) -> float | None:
        """The most memory of any of its processes."""
        peaks = [run.manifest.peak_bytes for run in self.runs if run.manifest.peak_bytes]
        return max(peaks) / 1e6 if peaks else None

    @property
    def examples_per_second(self) -> float | None:
        """Training examples, over the seconds of training."""
        trained = [run.result.train for run in self.runs if run.result.train.seconds > 0]
        return statistics.mean(train.examples / train.seconds for train in trained) if trained else None

    @property
    def metrics(self) -> dict[str, list[float]]:
        """Every reported metric's values; those of a second split have its name behind, `accuracy_mismatched`."""
        found: dict[str, list[float]] = {}
        for run in self.runs:
            for number, evaluated in enumerate(run.result.results):
                split = re.sub(r" \(.*\)$", "", evaluated.split).removeprefix("validation_")
                end = f"_{split}" if number else ""
                for name, value in evaluated.metrics.items():
                    found.setdefault(name + end, []).append(value)
        return found

    @property
    def notes(self) -> str:
        """What a reader must know of this row's numbers."""
        parts = [SMOKE_REMARK] if self.smoke else []
        parts += ["one seed"] if len(self.runs) == 1 else []
        parts += [f"{self.collapsed} collapsed"] if self.collapsed else []
        parts += [f"{self.linked} linked: the same run as another method's"] if self.linked else []
        parts += [_counted(count, status) for status, count in sorted(self.unfinished.items())]
        return ", ".join(parts)


def _counted(count: int, status: str) -> str:
    if status == "copy":
        return "1 copy left out" if count == 1 else f"{count} copies left out"
    return f"{count} {status}"


def profile_seconds(result: RunResult) -> float:
    """Seconds of the profile where the method's ranks follow it; uniform ranks need none, though one is shown."""
    return 0.0 if result.method == "lora" else result.profile_seconds


def rows_of(runs: Iterable[Run], unused: Iterable[Unused] = ()) -> list[Row]:
    """A row per task, model, budget, protocol, settings and method, in the order of tasks, models and methods.

    A control whose plan is GeLoRA's for every seed, and whose seeds GeLoRA has, too, has no row of its own: GeLoRA's is
    named after both. Where rows of a method differ in a setting, such as the learning rate, their names say it.
    """
    cells: dict[Cell, list[Run]] = {}
    for run in runs:
        cells.setdefault(run.cell, []).append(run)
    unfinished = Counter((run.cell, run.status) for run in unused)
    found = []
    for cell, twins in sorted(_merged(cells).items(), key=lambda item: _place(item[0])):
        name = " = ".join(twin[-1] for twin in (cell, *twins)) + _differing(cell, cells)
        name += " [smoke]" if cells[cell][0].result.smoke else ""
        counts: Counter[str] = Counter()
        for (other, status), count in unfinished.items():
            counts[status] += count if other in (cell, *twins) else 0
        merged = tuple(run for twin in twins for run in _by_seed(cells[twin]))
        found.append(Row(cell, name, _by_seed(cells[cell]), +counts, merged))
    return found


def _by_seed(runs: Iterable[Run]) -> tuple[Run, ...]:
    return tuple(sorted(runs, key=lambda run: run.result.seed))


def _place(cell: Cell) -> tuple[Any, ...]:
    """Where a row stands: by task, model, budget and protocol, exempt methods last, in the order of the methods."""
    task, model, budget, protocol, settings, method = cell
    order = METHODS.position(method)
    return (task, model, budget == EXEMPT_BUDGET, budget, protocol, order, settings)


def _merged(cells: Mapping[Cell, Sequence[Run]]) -> dict[Cell, list[Cell]]:
    """The cells that get a row, and those of the controls that are in it."""
    found: dict[Cell, list[Cell]] = {cell: [] for cell in cells}
    for cell, runs in sorted(cells.items()):
        twin: Cell = (*cell[:-1], "gelora")
        if cell != twin and twin in cells and _is_copy(runs, cells[twin]):
            del found[cell]
            found[twin].append(cell)
    return found


def _is_copy(control: Sequence[Run], gelora: Sequence[Run]) -> bool:
    """Whether a control has GeLoRA's plan, and no seed that GeLoRA has not."""
    seeds = {run.result.seed for run in gelora}
    return all(run.plan.ranks == run.plan.gelora_ranks and run.result.seed in seeds for run in control)


def _differing(cell: Cell, cells: Iterable[Cell]) -> str:
    """The settings in which the rows of one method differ, as this row has them."""
    others = [other[4] for other in cells if (*other[:4], other[5]) == (*cell[:4], cell[5])]
    return differing(cell[4], others)


def differing(mine: Settings, others: Iterable[Settings]) -> str:
    """Return ` (key=value, ...)` of the settings in which a row differs from others; nothing where all are equal.

    A key that only one of two rows has is no difference in itself: a run with a saved plan has none of the keys that
    the plan stands for. It is named where it is all that tells the two apart, at the row with fewer such keys. An
    older arithmetic is always named.
    """
    settings = dict(mine)
    names = {"numerics"} if settings.get("numerics", CURRENT_NUMERICS) != CURRENT_NUMERICS else set()
    for other in map(dict, others):
        names |= {key for key in settings.keys() & other.keys() if settings[key] != other[key]}
        extra, lacking = settings.keys() - other.keys(), other.keys() - settings.keys()
        if extra and (not lacking or len(extra) <= len(lacking)):
            names |= extra
    shown = [key for key in settings if key in names]
    return f" ({', '.join(f'{key}={settings[key]}' for key in shown)})" if shown else ""
