"""A difference over several tasks: the test of one task for a sum of several."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gelora_cli.report.across_tasks import across_tasks, effective_freedom, joint_variances
from gelora_cli.report.bootstrap import Variances
from scripts.calibrate_tasks import SimulatedTask, measure, own_chi2

PARTS = Variances(seeds=1.2e-5, examples=1.85e-5, both=1.6e-5, count=5)


@pytest.mark.parametrize("parts", [PARTS, Variances(2e-5, 1e-4, 1e-5, 5, clusters=12.0), Variances(0.0, 1e-4, 0.0, 3)])
def test_over_one_task_it_is_the_test_of_that_task(parts: Variances) -> None:
    across = across_tasks([parts], {"a": 0.01})
    assert across.p == pytest.approx(parts.p_value(0.01), rel=1e-9)
    assert across.high == pytest.approx(0.01 + parts.half_width(), rel=1e-6)


def test_four_equal_differences_say_more_than_one() -> None:
    tasks = dict.fromkeys("abcd", 0.01)
    across = across_tasks([PARTS] * 4, tasks)
    single = PARTS.p_value(0.01)
    assert 0.05 < single < 0.06
    assert across.p is not None and across.p < single / 10
    assert (across.difference, across.tasks, across.tasks_won) == (0.01, tuple("abcd"), 4)
    assert across.low is not None and across.low > 0


def test_a_sum_of_variances_is_known_better_than_each() -> None:
    # Over four tasks the interval is less than half as wide, since 5 seeds on each are 16 degrees of freedom.
    of_seeds = Variances(seeds=1e-4, examples=1e-5, both=0.0, count=5)
    assert joint_variances([of_seeds] * 4).half_width() < 0.85 * of_seeds.half_width() / 2


def test_a_task_that_can_not_differ_dilutes_the_mean_and_adds_no_variance() -> None:
    # GeLoRA and a control with its plan are the same runs there, whatever the seeds and the examples are.
    same = Variances(0.0, 0.0, 0.0, 5)
    alone = across_tasks([PARTS], {"a": 0.01})
    with_same = across_tasks([PARTS, same], {"a": 0.01, "b": 0.0})
    assert with_same.difference == pytest.approx(alone.difference / 2)
    assert with_same.p == pytest.approx(alone.p)
    nowhere = across_tasks([same, same], {"a": 0.0, "b": 0.0})
    assert (nowhere.p, nowhere.low, nowhere.high, nowhere.problem) == (1.0, 0.0, 0.0, "")


def test_a_difference_without_any_variance_has_no_test() -> None:
    across = across_tasks([Variances(0.0, 0.0, 0.0, 3)], {"a": 0.01})
    assert across.p is None and across.problem.startswith("no verdict: every seed and example differs by the same")


def test_points_are_a_hundred_times_the_value() -> None:
    points = across_tasks([PARTS.scaled(100)] * 2, {"a": 1.0, "b": 1.0})
    values = across_tasks([PARTS] * 2, {"a": 0.01, "b": 0.01})
    assert points.p == pytest.approx(values.p)
    assert points.low is not None and values.low is not None
    assert points.low == pytest.approx(100 * values.low)


def test_the_calibration_compares_with_the_test_of_one_task_taken_for_each() -> None:
    # Over one task its other test is that of the task, so what it errs over several is owed to the sum.
    task = SimulatedTask(np.array([0.01, 0.02, 0.0, 0.01, 0.01]), PARTS)
    assert own_chi2([task], 0.01) == pytest.approx(PARTS.p_value(0.01), abs=1e-3)
    rates = measure("alike", 5, [[task] * 2, [replace(task, by_seed=-task.by_seed)] * 2])
    assert (rates.boards, rates.found) == (2, 0.5)  # a difference the other way hides the one to be found
    assert rates.called_different == {"t over seeds": [1.0, 0.0], "own chi2": [1.0, 0.0], "gelora": [1.0, 1.0]}


def test_degrees_of_freedom_lie_between_those_of_one_task_and_of_all() -> None:
    assert effective_freedom([(2.0, 4.0)] * 4) == pytest.approx(16)
    assert effective_freedom([(2.0, 4.0), (0.0, 4.0)]) == pytest.approx(4)
    assert 4 < effective_freedom([(5.0, 4.0), (1.0, 4.0)]) < 8
    assert effective_freedom([(1.0, math.inf), (0.0, 4.0)]) == math.inf
    clustered = joint_variances([PARTS, Variances(1e-5, 2e-5, 1e-5, 5, clusters=20.0)])
    assert clustered.clusters is not None and clustered.clusters > 20  # the examples of the other are known better
    assert joint_variances([PARTS, PARTS]).clusters is None
