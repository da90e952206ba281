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
        values = [there for there, _ in self.values.values()]
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
    numbers = sorted(set.intersection(*(set(trials) for trials in by_method)))
    shared = [number for number in numbers if _is_one_point([trials[number] for trials in by_method])]
    if not shared:
        return None
    best = max(shared, key=lambda number: mean(_value(trials[number]) for trials in by_method))
    values = {}
    for method, trials in zip(study.methods, by_method, strict=True):
        values[method.label] = _value(trials[best]), max(_value(trials[number]) for number in shared)
    settings = {key: by_method[0][best].values[key] for key in _shared_keys([trials[best] for trials in by_method])}
    return CommonPoint(number=best, settings=settings, trials=len(shared), values=values)


def _done_trials(method: MethodStudy) -> Mapping[int, Trial]:
    return {trial.number: trial for trial in method.trials if trial.value is not None}


def _is_one_point(trials: list[Trial]) -> bool:
    """Return whether the trials agree in every key that all of them search."""
    keys = _shared_keys(trials)
    return bool(keys) and all(len({trial.values[key] for trial in trials}) == 1 for key in keys)


def _shared_keys(trials: list[Trial]) -> list[str]:
    return [key for key in trials[0].values if all(key in trial.values for trial in trials)]


def _value(trial: Trial) -> float:
    assert trial.value is not None  # as _done_trials chose them
    return trial.value
