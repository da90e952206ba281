"""Which values a trial has: scrambled Sobol points, the same for all methods where they share a key.

A key has a dimension of its own by its name. So the coordinate of a trial depends on the seed of the study, the key and
the number of the trial, and on nothing else: not on the other methods or keys, the number of trials or of workers.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence

from gelora_cli.core.artifacts.study import SearchedKey, SettingValue
from gelora_cli.tuning.space import parsed_choice

DIMENSIONS = (
    *("train.learning_rate", "method.scaling", "method.dropout", "method.start_ratio", "train.weight_decay"),
    *("train.warmup_ratio", "method.threshold_total", "method.cut_at"),
)
"""The keys of the spaces that gelora ships, the key of each dimension. To be extended at the end only."""
MOST_DIMENSIONS, RESERVED = 64, 32
"""Dimensions of the points, and how many of them, the first ones, are for `DIMENSIONS` as it grows. A key that is not
there takes one of the others, by its name."""
DIGITS = 3
"""Significant digits of a value, so that it can be typed."""


def dimension_of(key: str, space: Sequence[SearchedKey]) -> int:
    """Return the dimension of a key.

    Two keys outside `DIMENSIONS` that would take the same one in a space take two, in the order of their names.
    """
    if key in DIMENSIONS:
        return DIMENSIONS.index(key)
    free = MOST_DIMENSIONS - RESERVED
    taken: set[int] = set()
    for name in sorted(searched.key for searched in space if searched.key not in DIMENSIONS):
        dimension = zlib.crc32(name.encode()) % free
        while dimension in taken:
            dimension = (dimension + 1) % free
        taken.add(dimension)
        if name == key:
            return RESERVED + dimension
    raise KeyError(key)


@functools.lru_cache(maxsize=4096)
def sobol_point(seed: int, number: int) -> tuple[float, ...]:
    """Return the point of a trial: `MOST_DIMENSIONS` coordinates in [0, 1) of a scrambled Sobol sequence.

    Args:
        seed: what the sequence is scrambled by (Owen's scrambling, as scipy does it).
        number: the number of the trial, from 1.
    """
    from scipy.stats.qmc import Sobol

    sequence = Sobol(MOST_DIMENSIONS, scramble=True, rng=seed)
    if number > 1:
        sequence.fast_forward(number - 1)
    return tuple(float(coordinate) for coordinate in sequence.random(1)[0])


def value_at(searched: SearchedKey, coordinate: float) -> SettingValue:
    """Return the value of a key at a coordinate in [0, 1]: evenly on its scale, with `DIGITS` significant digits."""
    if searched.choices:
        index = min(int(coordinate * len(searched.choices)), len(searched.choices) - 1)
        return parsed_choice(searched.choices[index])
    assert searched.low is not None and searched.high is not None
    if searched.log:
        value = searched.low * (searched.high / searched.low) ** coordinate
    else:
        value = searched.low + (searched.high - searched.low) * coordinate
    return rounded_value(searched, value)


def rounded_value(searched: SearchedKey, value: float) -> float | int:
    """Return a number of a key as it is tried: whole, or with `DIGITS` significant digits, within the range."""
    assert searched.low is not None and searched.high is not None
    if searched.integer:
        return min(max(round(value), int(searched.low)), int(searched.high))
    return min(max(significant(value), searched.low), searched.high)


def significant(value: float) -> float:
    """Return a number with `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")
