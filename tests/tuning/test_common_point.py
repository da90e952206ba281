"""What a study says of a comparison at one point for all methods."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gelora_cli.core.artifacts.study import MethodStudy, SettingValue, Trial
from gelora_cli.tuning.common_point import common_point
from tests.helpers.studies import RATE, SCALING, method_study, study


def searched(label: str, values: list[float | None], *, scaling: bool = True) -> MethodStudy:
    """Return a search with these values at the points of all others; None is a trial that failed."""
    made = method_study(label)
    trials = []
    for number, value in enumerate(values, start=1):
        settings: dict[str, SettingValue] = {"train.learning_rate": number / 100}
        if scaling:
            settings["method.scaling"] = 2.0 * number
        trials.append(Trial(number, settings, "", "failed" if value is None else "done", value))
    return replace(made, trials=tuple(trials), space=(RATE, SCALING) if scaling else (RATE,))


def test_the_common_point_has_the_highest_mean_and_every_method_its_own_best() -> None:
    found = common_point(study(searched("lora", [0.5, 0.8, 0.9]), searched("gelora", [0.5, 0.82, 0.7])))
    assert found is not None
    assert (found.number, found.trials) == (2, 3)
    assert found.values == {"lora": (0.8, 0.9), "gelora": (0.82, 0.82)}
    assert found.settings == {"train.learning_rate": 0.02, "method.scaling": 4.0}
    assert found.range_there == pytest.approx(0.02) and found.range_at_best == pytest.approx(0.08)


def test_a_point_at_which_a_method_failed_is_not_common() -> None:
    found = common_point(study(searched("lora", [0.5, 0.9]), searched("gelora", [0.6, None])))
    assert found is not None and found.number == 1


def test_keys_that_one_method_alone_searches_don_t_matter() -> None:
    found = common_point(study(searched("lora", [0.5]), searched("bitfit", [0.6], scaling=False)))
    assert found is not None and found.settings == {"train.learning_rate": 0.01}


def test_no_common_point_of_other_settings_or_of_one_method() -> None:
    lora, gelora = searched("lora", [0.5]), searched("gelora", [0.6])
    moved = replace(gelora, trials=(replace(gelora.trials[0], values={"train.learning_rate": 0.5}),))
    assert common_point(study(lora, moved)) is None
    assert common_point(study(lora)) is None
