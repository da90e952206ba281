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
    needed = seeds_needed([PARTS], 0.5)
    assert needed.seeds is not None
    assert detectable([PARTS], needed.seeds) <= 0.5 < detectable([PARTS], needed.seeds - 1)
    assert seeds_needed([PARTS], 50.0).seeds == 3
    with pytest.raises(ValueError, match="above 0"):
        seeds_needed([PARTS], 0.0)


def test_no_number_of_seeds_makes_up_for_few_rows() -> None:
    # 872 rows on which two methods disagree in 10 %: 1.07 points of error by the rows alone.
    rows = Variances(seeds=1.2, examples=100**2 * 0.10 / 872, both=0.0, count=5)
    needed = seeds_needed([rows], 0.5)
    assert needed.seeds is None
    assert 872 * needed.rows_factor == pytest.approx(31_400, rel=0.02)
    across = across_tasks([rows], {"sst2": 1.0})
    power = power_of(across)
    assert power is not None
    assert "no number of seeds shows half a point: that takes 36.0 times the test rows" in power.describe()


def test_the_same_runs_have_no_power() -> None:
    assert power_of(across_tasks([Variances(0.0, 0.0, 0.0, 3)], {"a": 0.0})) is None
