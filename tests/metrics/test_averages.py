"""An average over tasks counts each task once, and its spread is that of the seeds which every task has."""

from __future__ import annotations

import statistics

import pytest

from gelora_cli.metrics.averages import TaskAverage, TaskValues, average_over_tasks


def test_each_task_counts_once_whatever_its_seeds() -> None:
    many = TaskValues(dict.fromkeys(range(9), 0.5), 100.0)
    average = average_over_tasks([many, TaskValues({0: 70.0, 1: 80.0}, 1.0)])
    assert average.points == pytest.approx((50 + 75) / 2)


def test_the_spread_is_that_of_the_seeds_that_every_task_has() -> None:
    first = TaskValues({0: 0.1, 1: 0.4, 2: 0.9}, 100.0)
    second = TaskValues({2: 60.0, 1: 20.0, 5: 0.0}, 1.0)
    assert average_over_tasks([first, second]).sd == pytest.approx(statistics.stdev([(40 + 20) / 2, (90 + 60) / 2]))


@pytest.mark.parametrize("seeds", [(7,), (7, 8)])
def test_fewer_than_two_shared_seeds_have_no_spread(seeds: tuple[int, ...]) -> None:
    tasks = [TaskValues({0: 0.5, 1: 0.25}, 100.0), TaskValues({0: 0.5} | dict.fromkeys(seeds, 0.5), 100.0)]
    assert average_over_tasks(tasks) == TaskAverage(statistics.mean([37.5, 50.0]), None)
    assert average_over_tasks([tasks[0], TaskValues(dict.fromkeys(seeds, 0.5), 1.0)]).sd is None
