"""What the tasks without settings of their own take: the trials behind the factor of the learning rate."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from gelora_cli.report.runs import Run, collect
from scripts.evidence.markdown import Line, table
from scripts.evidence.plan import ROOT, Scale
from scripts.evidence.presets import two_digits


@dataclass(frozen=True, kw_only=True)
class Factor:
    """A factor that was tried with a method.

    Attributes:
        method: the method.
        factor: learning rate over the highest one that was tried, which is that of the method's settings.
        values: what each task reached on held-out training rows, in the order of the tasks.
        is_taken: whether the plan has it.
    """

    method: str
    factor: float
    values: tuple[float, ...]
    is_taken: bool

    @property
    def mean(self) -> float:
        """Return the mean over the tasks, which the choice is by."""
        return statistics.mean(self.values)


def tried_factors(scale: Scale) -> tuple[list[str], list[Factor]]:
    """Return the tasks that factors were tried on, and each factor with what it reached, those of a method together.

    Raises:
        ValueError: a rate was not tried on every task.
    """
    runs = collect([ROOT / str(scale.values["rate_trials"])]).runs
    tasks = sorted({run.result.task for run in runs})
    by_rate: dict[tuple[str, float], dict[str, float]] = {}
    for run in runs:
        by_rate.setdefault((run.result.method, _rate(run)), {})[run.result.task] = run.result.value
    factors = []
    for (method, rate), values in by_rate.items():
        if set(values) != set(tasks):
            raise ValueError(f"{method} with the learning rate {rate:g} was not tried on {set(tasks) - set(values)}")
        highest = max(other for name, other in by_rate if name == method)
        factor = two_digits(rate / highest)
        in_order = tuple(values[task] for task in tasks)
        is_taken = factor == scale.rate_factor(method)
        factors.append(Factor(method=method, factor=factor, values=in_order, is_taken=is_taken))
    return tasks, sorted(factors, key=lambda entry: (entry.method, -entry.factor))


def _rate(run: Run) -> float:
    if run.config.train.learning_rate is None:
        raise ValueError(f"{run.directory} has no learning rate")
    return run.config.train.learning_rate


def rate_table(scale: Scale) -> str:
    """Return a line for each factor that was tried: what each task reached, and the mean that the choice is by."""
    tasks, factors = tried_factors(scale)
    lines = []
    for entry in factors:
        mean = f"{100 * entry.mean:.1f}"
        values = [f"{100 * value:.1f}" for value in entry.values]
        lines.append(
            Line((f"`{entry.method}`", f"{entry.factor:g}", *values, f"**{mean}**" if entry.is_taken else mean))
        )
    return table(("method", "factor", *tasks, "mean"), lines, anchor="rates")
