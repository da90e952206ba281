"""What a comparison can show, against simulated differences."""

from __future__ import annotations

import numpy as np
import pytest

from gelora_cli.report.across_tasks import across_tasks, joint_variances
from gelora_cli.report.bootstrap import Variances
from gelora_cli.report.power import detectable, power_of, seeds_needed, with_seeds

PARTS = Variances(seeds=0.15, examples=0.18, both=0.2, count=4)  # in squares of points


@pytest.mark.parametrize(("seeds", "tasks"), [(3, 1), (5, 1), (5, 3)])
def test_the_detectable_difference_is_shown_in_four_of_five_simulations(seeds: int, tasks: int) -> None:
    # Each draws a difference that large, and estimates the seeds' variance from its own seeds.
    of_seeds, examples, both = 0.8, 0.1, 0.3
    truth = Variances(of_seeds / 5 + both / 5, examples + both / 5, both / 5, 5)
    effect = detectable([truth] * tasks, seeds)
    generator, shown = np.random.default_rng(0), 0
    for _ in range(300):
        mean, parts = 0.0, []
        for _ in range(tasks):
            by_seed = (
                effect + examples**0.5 * generator.normal() + (of_seeds + both) ** 0.5 * generator.normal(size=seeds)
            )
            mean += float(by_seed.mean()) / tasks
            parts.append(Variances(float(by_seed.var(ddof=1)) / seeds, examples + both / seeds, both / seeds, seeds))
        shown += joint_variances(parts).p_value(mean) < 0.05
    assert 0.70 < shown / 300 < 0.92


def test_more_seeds_and_more_tasks_show_less_and_more_tests_need_more() -> None:
    few, many = detectable([PARTS], 3), detectable([PARTS], 10)
    assert detectable([PARTS] * 4, 5) < detectable([PARTS], 5) < few
    assert many < detectable([PARTS], 10, tests=5)
    # Without a number of seeds it is of those that each task has.
    unequal = detectable([with_seeds(PARTS, 5), with_seeds(PARTS, 3)], None)
    assert detectable([PARTS] * 2, 5) < unequal < detectable([PARTS] * 2, 3)
    assert with_seeds(PARTS, 4).expected == pytest.approx(0.2)  # `seeds` can't be less than `both`


def test_seeds_needed_are_the_fewest_that_show_a_difference() -> None:
    needed = seeds_needed([PARTS], 1.0)
    assert needed is not None
    assert detectable([PARTS], needed) <= 1.0 < detectable([PARTS], needed - 1)
    assert seeds_needed([PARTS], 50.0) == 3
    with pytest.raises(ValueError, match="above 0"):
        seeds_needed([PARTS], 0.0)


def test_nothing_is_said_beyond_ten_times_the_seeds() -> None:
    # 872 rows on which two methods disagree in 10 %: 1.07 points of error by the rows alone.
    rows = Variances(seeds=1.2, examples=100**2 * 0.10 / 872, both=0.0, count=5)
    assert seeds_needed([rows], 0.5) is None
    power = power_of(across_tasks([rows], {"sst2": 1.0}))
    assert power is not None and power.most_seeds == 50
    assert power.detectable_with_most == pytest.approx(detectable([rows], 50))
    assert power.detectable > power.detectable_with_most > 2.8 * 1.07  # of which the rows have the most
    assert "half a point takes more than 50 seeds, with which 3." in power.describe()


def test_noise_of_one_task_makes_up_for_that_of_another_as_in_the_test() -> None:
    # Of equal parts `examples - both` scatters around 0: its sum over tasks counts, not that of the positive ones.
    above, below = Variances(0.3, 0.25, 0.2, 3), Variances(0.3, 0.15, 0.2, 3)
    even = Variances(0.3, 0.2, 0.2, 3)
    assert detectable([above, below], 30) == pytest.approx(detectable([even, even], 30))


def test_the_same_runs_have_no_power() -> None:
    assert power_of(across_tasks([Variances(0.0, 0.0, 0.0, 3)], {"a": 0.0})) is None
