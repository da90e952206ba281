"""What the tasks without settings of their own take: the trials behind the factor of the learning rate."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from gelora_cli.report.runs import collect
from scripts.evidence.markdown import NONE, Line, table
from scripts.evidence.plan import ROOT, UNSET, Scale
from scripts.evidence.presets import RATE, VARIANT, committed_presets


@dataclass(frozen=True, kw_only=True)
class Factor:
    """A factor that was tried with a method.

    Attributes:
        method: the method.
        factor: learning rate over the one of the method's settings.
        values: what each task reached on held-out training rows; None where it was not tried on that task.
        is_taken: whether the plan has it.
    """

    method: str
    factor: float
    values: tuple[float | None, ...]
    is_taken: bool

    @property
    def mean(self) -> float | None:
        """Return the mean over the tasks, which the choice is by; None where it was not tried on all of them."""
        known = [value for value in self.values if value is not None]
        return statistics.mean(known) if len(known) == len(self.values) else None


def tried_factors(scale: Scale) -> tuple[list[str], list[Factor]]:
    """Return the tasks that factors were tried on, and each factor with what it reached, those of a method together.

    Methods without settings to multiply are left out.
    """
    runs = collect([ROOT / str(scale.values["rate_trials"])]).runs
    tasks = sorted({run.result.task for run in runs})
    presets = committed_presets(scale)
    found: dict[tuple[str, float], dict[str, float]] = {}
    for run in runs:
        task, method = run.result.task, run.result.method
        source = presets.get((scale.carried[task], method, UNSET[VARIANT]))
        if source is not None and run.config.train.learning_rate is not None:
            ratio = run.config.train.learning_rate / float(source.settings[RATE])
            factor = 2.0 ** round(math.log2(ratio))  # rates are rounded
            found.setdefault((method, factor), {})[task] = run.result.value
    factors = []
    for method, factor in sorted(found, key=lambda key: (key[0], -key[1])):
        values = tuple(found[method, factor].get(task) for task in tasks)
        is_taken = factor == scale.rate_factor(method)
        factors.append(Factor(method=method, factor=factor, values=values, is_taken=is_taken))
    return tasks, factors


def cost_of_factor(scale: Scale, method: str) -> tuple[float, str] | None:
    """Return by how much another factor did better than the one of a method on a task, in points, and that task.

    The most over the tasks: one factor is taken for all of them. None where the one taken was the best on each, or none
    was tried.
    """
    tasks, factors = tried_factors(scale)
    own = [entry for entry in factors if entry.method == method]
    taken = next((entry for entry in own if entry.is_taken), None)
    if taken is None:
        return None
    costs = []
    for position, task in enumerate(tasks):
        known = [value for entry in own if (value := entry.values[position]) is not None]
        if (reached := taken.values[position]) is not None:
            costs.append((100 * (max(known) - reached), task))
    most = max(costs, default=(0.0, ""))
    return most if most[0] > 0 else None


def rate_table(scale: Scale, task_name: Callable[[str], str]) -> str:
    """Return a line for each factor that was tried: what each task reached, and the mean that the choice is by.

    Args:
        scale: the plan.
        task_name: gives the name of a task with what a reader must know of its rows.
    """
    tasks, factors = tried_factors(scale)
    lines = []
    for entry in factors:
        mean = _points(entry.mean)
        cells = (f"`{entry.method}`", f"{entry.factor:g}", *map(_points, entry.values))
        lines.append(Line((*cells, f"**{mean}**" if entry.is_taken else mean)))
    return table(("method", "factor", *map(task_name, tasks), "mean"), lines, anchor="rates")


def _points(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f}"
