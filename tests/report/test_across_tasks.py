"""A difference over several tasks: the test of one task for a sum of several."""

from __future__ import annotations

import pytest

from gelora_cli.report.across_tasks import JointVariance, across_tasks
from gelora_cli.report.bootstrap import Variances

PARTS = Variances(seeds=1.2e-5, examples=1.85e-5, both=1.6e-5, count=5)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("parts", [(1e-4, 2e-5, 1e-5), (2e-5, 1e-4, 1e-5), (1e-5, 1e-5, 2e-5), (1e-4, 0.0, 0.0)])
def test_over_one_task_it_is_the_test_of_that_task(seeds: int, parts: tuple[float, float, float]) -> None:
    single = Variances(*parts, seeds)
    joint = JointVariance((single,))
    for difference in (0.002, 0.01, 0.02, 0.04):
        assert joint.p_value(difference) == pytest.approx(single.p_value(difference), abs=5e-5)
    assert joint.half_width() == pytest.approx(single.half_width(), rel=1e-3)


def test_over_one_task_of_clusters_it_is_the_test_of_that_task() -> None:
    single = Variances(2e-5, 1e-4, 1e-5, 5, clusters=12.0)
    joint = JointVariance((single,))
    for level in (0.5, 0.05, 0.01):
        assert joint.p_value(single.half_width(level)) == pytest.approx(level, rel=0.02)


def test_four_equal_differences_say_more_than_one() -> None:
    """Of variances of which each is known from few seeds, the sum is known better: more than the root of 4."""
    tasks = dict.fromkeys("abcd", 0.01)
    across = across_tasks([PARTS] * 4, tasks)
    single = PARTS.p_value(0.01)
    assert 0.05 < single < 0.06
    assert across.p is not None and across.p < single / 10
    assert (across.difference, across.tasks, across.seeds, across.tasks_won) == (0.01, tuple("abcd"), 5, 4)
    assert across.low is not None and across.low > 0
    assert JointVariance(across.parts).half_width() < PARTS.half_width() / 2


def test_a_task_that_can_not_differ_dilutes_the_mean_and_adds_no_variance() -> None:
    """GeLoRA and a control with its plan are the same runs there, whatever the seeds and the examples are."""
    same = Variances(0.0, 0.0, 0.0, 5)
    alone = across_tasks([PARTS], {"a": 0.01})
    with_same = across_tasks([PARTS, same], {"a": 0.01, "b": 0.0})
    assert with_same.difference == pytest.approx(alone.difference / 2)
    assert with_same.p == pytest.approx(alone.p, abs=2e-3)
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
