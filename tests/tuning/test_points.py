"""Points of trials: shared by methods, independent of how many there are, and spread evenly."""

from __future__ import annotations

import pytest

from gelora_cli.core.artifacts.study import SearchedKey
from gelora_cli.tuning.points import dimension_of, sobol_point, value_at

RATE = SearchedKey("train.learning_rate", 1e-4, 1e-2, log=True)
RATIO = SearchedKey("method.start_ratio", 1.0, 3.0)
DROPOUT = SearchedKey("method.dropout", None, None, choices=("0.0", "0.1"))
OWN = SearchedKey("method.of_a_plugin", 0.0, 1.0)


def test_a_point_depends_on_the_seed_and_its_number_alone() -> None:
    sobol_point.cache_clear()
    backwards = [sobol_point(3, number) for number in (8, 3, 1)]
    sobol_point.cache_clear()
    assert [sobol_point(3, number) for number in (1, 3, 8)] == backwards[::-1]
    assert sobol_point(4, 3) != sobol_point(3, 3)


def test_a_key_has_its_dimension_whatever_else_is_searched() -> None:
    assert dimension_of("method.dropout", [RATE, DROPOUT]) == dimension_of("method.dropout", [DROPOUT])
    assert dimension_of(OWN.key, [OWN]) == dimension_of(OWN.key, [RATE, RATIO, OWN])


@pytest.mark.parametrize("key", [RATE, RATIO, DROPOUT])
def test_every_eighth_of_a_range_has_two_of_sixteen_points(key: SearchedKey) -> None:
    dimension = dimension_of(key.key, [key])
    coordinates = [sobol_point(0, number)[dimension] for number in range(1, 17)]
    assert sorted(int(8 * coordinate) for coordinate in coordinates) == [eighth for eighth in range(8) for _ in "ab"]


def test_a_coordinate_becomes_a_value_on_the_scale_of_its_key() -> None:
    assert [value_at(RATE, place) for place in (0.0, 0.5, 1.0)] == [1e-4, 1e-3, 1e-2]
    assert value_at(RATIO, 0.123456) == 1.25  # three digits, to be typed
    assert [value_at(DROPOUT, place) for place in (0.0, 0.49, 0.5, 1.0)] == [0.0, 0.0, 0.1, 0.1]
    whole = SearchedKey("method.rank_min", 1.0, 8.0, log=True, integer=True)
    assert [value_at(whole, place) for place in (0.0, 0.5, 1.0)] == [1, 3, 8]
