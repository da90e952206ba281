"""What searching each method's settings changed: against one point for all of them; no torch.

Every method of a study is tried at the same points as far as they search the same keys (`points.py`). So a study also
says what a comparison at one point for all would have found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean

from gelora_cli.core.artifacts.study import MethodStudy, SettingValue, Study, Trial


@dataclass(frozen=True, kw_only=True)
class CommonPoint:
    """The point with the highest mean over methods, and what each method reached there and at the best of its own.

    Values are in the units of the study's metric.

    Attributes:
        number: the number of the trial.
        settings: the values of the keys that all methods search.
        trials: how many points all methods were tried at.
        values: each method's label with its value at this point, and with that of its own best trial among these.
    """

    number: int
    settings: dict[str, SettingValue]
    trials: int
    values: dict[str, tuple[float, float]]

    @property
    def range_there(self) -> float:
        """Return how far the methods are apart at this point."""
        values = [at_point for at_point, _ in self.values.values()]
        return max(values) - min(values)

    @property
    def range_at_best(self) -> float:
        """Return how far they are apart at each one's own best."""
        values = [best for _, best in self.values.values()]
        return max(values) - min(values)


def common_point(study: Study) -> CommonPoint | None:
    """Return the common point of a study; None where its methods share no point that all of them have a value at.

    Of points with equal means it is the first. A collapsed trial counts with its value: a comparison at that point
    would have counted it.
    """
    by_method = [_done_trials(method) for method in study.methods]
    if len(by_method) < 2:
        return None
    points: dict[int, list[Trial]] = {}  # by number: the trial of each method
    for number in sorted(set.intersection(*map(set, by_method))):
        trials = [of_method[number] for of_method in by_method]
        if _is_one_point(trials):
            points[number] = trials
    if not points:
        return None
    best = max(points, key=lambda number: mean(map(_value, points[number])))
    values = {}
    for place, method in enumerate(study.methods):
        own_best = max(_value(trials[place]) for trials in points.values())
        values[method.label] = _value(points[best][place]), own_best
    settings = {key: points[best][0].values[key] for key in _shared_keys(points[best])}
    return CommonPoint(number=best, settings=settings, trials=len(points), values=values)


def _done_trials(method: MethodStudy) -> Mapping[int, Trial]:
    return {trial.number: trial for trial in method.trials if trial.value is not None}


def _is_one_point(trials: list[Trial]) -> bool:
    """Return whether the trials agree in every key that all of them search."""
    keys = _shared_keys(trials)
    for key in keys:
        if len({trial.values[key] for trial in trials}) > 1:
            return False
    return bool(keys)


def _shared_keys(trials: list[Trial]) -> list[str]:
    """Return the keys that all of these trials search, in the order of the first."""
    keys = list(trials[0].values)
    for trial in trials[1:]:
        keys = [key for key in keys if key in trial.values]
    return keys


def _value(trial: Trial) -> float:
    assert trial.value is not None  # as _done_trials chose them
    return trial.value
