"""The average of a method over several tasks, each counted once; no torch."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TaskValues:
    """What a method reached on one task: the value of each seed, and the factor that makes points of 0 to 100 of it."""

    by_seed: Mapping[int, float]
    factor: float

    @property
    def mean(self) -> float:
        """Return the mean over all seeds, in points."""
        return self.factor * statistics.mean(self.by_seed.values())

    def of_seed(self, seed: int) -> float:
        """Return what one seed reached, in points."""
        return self.factor * self.by_seed[seed]


@dataclass(frozen=True)
class TaskAverage:
    """An average over tasks, in points.

    Attributes:
        points: the mean over tasks of the means over seeds.
        sd: the standard deviation, over the seeds of every task, of a seed's mean over tasks; None for fewer than two.
    """

    points: float
    sd: float | None


def average_over_tasks(tasks: Sequence[TaskValues]) -> TaskAverage:
    """Return the average over at least one task, each counted once, and its spread over seeds."""
    shared_seeds = sorted(set.intersection(*(set(task.by_seed) for task in tasks)))
    by_seed = []
    for seed in shared_seeds:
        by_seed.append(statistics.mean(task.of_seed(seed) for task in tasks))
    sd = statistics.stdev(by_seed) if len(by_seed) > 1 else None
    return TaskAverage(statistics.mean(task.mean for task in tasks), sd)
