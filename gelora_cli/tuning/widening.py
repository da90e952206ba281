"""Whether the best trial lies on the edge of what was searched, and the wider ranges, the same for all methods."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from gelora_cli.config.keys import Key
from gelora_cli.core.artifacts.study import MethodStudy, SearchedKey, SettingValue, Trial, Widening
from gelora_cli.tuning.points import dimension_of, significant, sobol_point, value_at

EDGE = 0.1
"""The share of a range at each end within which a best trial counts as on the edge."""
FACTOR = math.sqrt(10)
"""By how much the end of a logarithmic range is moved."""
SHARE = 0.5
"""By which share of its width the end of any other range is moved."""


def position(searched: SearchedKey, value: SettingValue) -> float:
    """Return where a number lies in the range of its key, on the scale of the key: 0 at `low`, 1 at `high`."""
    assert searched.low is not None and searched.high is not None
    number = float(value)
    if searched.log:
        return math.log(number / searched.low) / math.log(searched.high / searched.low)
    return (number - searched.low) / (searched.high - searched.low)


def edge_sides(searched: SearchedKey, best: Trial, trials: Iterable[Trial]) -> tuple[str, ...]:
    """Return the ends of a key's range, `low` and `high`, on which the best trial lies.

    It lies on one if no trial with a value lies beyond it, so that none shows that the value falls there, and if it is
    within `EDGE` of the range from the end, or nearer than the trials are to each other on average.
    """
    if searched.choices:
        return ()
    done = [position(searched, trial.values[searched.key]) for trial in trials if trial.value is not None]
    place, margin = position(searched, best.values[searched.key]), max(EDGE, 1 / len(done))
    sides = []
    if place <= min(done) and place <= margin:
        sides.append("low")
    if place >= max(done) and place >= 1 - margin:
        sides.append("high")
    return tuple(sides)


def wider(searched: SearchedKey, side: str, declared: Key) -> SearchedKey:
    """Return a key with its range made wider at `low`, `high` or `both` ends, as far as the key accepts the values."""
    if searched.choices:
        return searched
    assert searched.low is not None and searched.high is not None
    low, high = searched.low, searched.high
    step = (high - low) * SHARE
    if side in ("low", "both"):
        low = _at_least(declared, significant(low / FACTOR if searched.log else low - step), low)
    if side in ("high", "both"):
        high = min(significant(high * FACTOR if searched.log else high + step), declared.declared.high)
    if searched.integer:
        low, high = math.floor(low), math.ceil(high)
    if (low, high) == (searched.low, searched.high):
        return searched
    first = (searched.low, searched.high) if searched.first_low is None else (searched.first_low, searched.first_high)
    return replace(
        searched,
        low=float(low),
        high=float(high),
        widened=searched.widened + 1,
        first_low=first[0],
        first_high=first[1],
    )


def _at_least(declared: Key, moved: float, before: float) -> float:
    """Return the lower end of a range, as far as the key accepts it."""
    bounds = declared.declared
    if bounds.above is not None and moved <= bounds.above:
        return before
    return moved if bounds.low is None else max(moved, min(bounds.low, before))


def find_widening(
    methods: Sequence[MethodStudy], declared: Mapping[str, Key], first: int, trials: int
) -> Widening | None:
    """Return which ranges to make wider, since a method's best trial lies on their edge; None where none does.

    Args:
        methods: the methods with their trials.
        declared: the declaration of each searched key, by its name.
        first: number of the next trial.
        trials: how many trials each method would get.
    """
    sides: dict[str, set[str]] = {}
    labels = []
    for method in methods:
        at_edge = method_edges(method, declared)
        for key, ends in at_edge.items():
            sides.setdefault(key, set()).update(ends)
        if at_edge:
            labels.append(method.label)
    if not sides:
        return None
    named = {key: "both" if len(ends) == 2 else next(iter(ends)) for key, ends in sides.items()}
    return Widening(first=first, trials=trials, sides=named, methods=tuple(labels))


def method_edges(method: MethodStudy, declared: Mapping[str, Key]) -> dict[str, tuple[str, ...]]:
    """Return the keys whose best value lies on an edge that could be moved, with the ends."""
    best = method.best_trial
    if best is None:
        return {}
    edges = {}
    for searched in method.space:
        ends = edge_sides(searched, best, method.trials)
        movable = tuple(end for end in ends if wider(searched, end, declared[searched.key]) != searched)
        if movable:
            edges[searched.key] = movable
    return edges


def widened_space(
    space: Sequence[SearchedKey], widening: Widening, declared: Mapping[str, Key]
) -> tuple[SearchedKey, ...]:
    """Return a method's space after a widening; keys that it does not search are not added."""
    return tuple(
        wider(searched, widening.sides[searched.key], declared[searched.key])
        if searched.key in widening.sides
        else searched
        for searched in space
    )


def point_value(
    searched: SearchedKey,
    *,
    space: Sequence[SearchedKey],
    before: Sequence[SearchedKey] | None,
    seed: int,
    number: int,
    index: int,
) -> SettingValue:
    """Return the value of a key of a trial, at its Sobol point.

    A trial that a widening added takes one of the wider keys from the part of its range that was added, each in turn,
    and all others from their whole range.

    Args:
        searched: the key.
        space: all searched keys of the method.
        before: the same before the widening that added the trial; None for a trial of the original ranges.
        seed: the seed of the study.
        number: the number of the trial.
        index: its number among the trials that the widening added, from 0.
    """
    coordinate = sobol_point(seed, number)[dimension_of(searched.key, space)]
    if before is None:
        return value_at(searched, coordinate)
    pairs = [(old, new) for old, new in zip(before, space, strict=True) if old != new]
    if not pairs or pairs[index % len(pairs)][1].key != searched.key:
        return value_at(searched, coordinate)
    old, new = pairs[index % len(pairs)]
    assert None not in (old.low, old.high)
    low_part, high_part = position(new, old.low or 0.0), 1 - position(new, old.high or 0.0)
    # The two added parts one after the other, each as long as it is.
    along = coordinate * (low_part + high_part)
    return value_at(new, along if along < low_part else 1 - high_part + (along - low_part))
