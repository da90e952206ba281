"""A study as it grows: what is run, in which order, what a kill leaves, failing trials, wider ranges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gelora_cli.core.artifacts.study import Study
from gelora_cli.core.codec import read_artifact
from gelora_cli.tuning.journal import JOURNAL
from gelora_cli.tuning.study import StudySettings
from tests.helpers.searches import METHODS, SETTINGS, WrittenRuns, run_written, timeless, values_of

TPE = replace(SETTINGS, sampler="tpe")


def test_methods_share_their_points_and_take_turns(tmp_path: Path) -> None:
    runs = WrittenRuns(tmp_path / "runs")
    study = run_written(tmp_path / "study", runs, replace(SETTINGS, widen=0)).study
    assert runs.started == [(label, number) for number in (1, 2, 3, 4) for label in ("lora", "adalora")]
    assert values_of(study, "lora") == values_of(study, "adalora")
    lora = study.methods[0]
    assert lora.best_trial is not None
    assert lora.best_trial.value == max(trial.value or 0.0 for trial in lora.trials)
    assert study.examples == 10
    assert timeless(read_artifact(Study, tmp_path / "study" / Study.FILE)) == timeless(study)


def test_more_trials_begin_with_the_same(tmp_path: Path) -> None:
    few = run_written(tmp_path / "few", WrittenRuns(tmp_path / "runs")).study
    many = run_written(tmp_path / "many", WrittenRuns(tmp_path / "runs"), replace(SETTINGS, trials=6)).study
    alone = run_written(tmp_path / "one", WrittenRuns(tmp_path / "runs"), methods=METHODS[1:]).study
    assert values_of(many, "adalora")[:4] == values_of(few, "adalora")[:4] == values_of(alone, "adalora")[:4]


@pytest.mark.parametrize(("settings", "stops"), [(SETTINGS, (0, 5, 8)), (TPE, (1, 9))], ids=["sobol", "tpe"])
def test_a_study_killed_at_any_trial_goes_on_to_the_same(
    tmp_path: Path, settings: StudySettings, stops: tuple[int, ...]
) -> None:
    best_rate = 1e-2  # on the edge, so that ranges become wider
    whole = run_written(tmp_path / "whole", WrittenRuns(tmp_path / "runs", best_rate), settings).study
    assert whole.trials_per_method == 6
    for stop_after in stops:
        directory = tmp_path / f"{stop_after}"
        first = run_written(directory, WrittenRuns(tmp_path / "runs", best_rate, stop_after=stop_after), settings)
        assert first.interrupted
        before = (directory / Study.FILE).read_bytes()
        run_written(directory, WrittenRuns(tmp_path / "runs", best_rate, stop_after=1), settings)
        # As after a kill between the journal and the study, in the middle of a line of the journal.
        (directory / Study.FILE).write_bytes(before)
        with (directory / JOURNAL).open("ab") as file:
            file.write(b'{"op_code":4,"wor')
        runs = WrittenRuns(tmp_path / "runs", best_rate)
        second = run_written(directory, runs, settings)
        assert not second.interrupted
        assert timeless(second.study) == timeless(whole), stop_after
        assert len(runs.started) == 12 - stop_after
        assert run_written(directory, WrittenRuns(tmp_path / "runs", stop_after=0), settings).study == second.study


@pytest.mark.parametrize("lost", [JOURNAL, Study.FILE])
def test_a_lost_file_is_made_again(tmp_path: Path, lost: str) -> None:
    settings = replace(TPE, trials=5, widen=0)
    whole = run_written(tmp_path / "study", WrittenRuns(tmp_path / "runs"), settings).study
    run_written(tmp_path / "other", WrittenRuns(tmp_path / "runs", stop_after=7), settings)
    (tmp_path / "other" / lost).unlink()
    assert timeless(run_written(tmp_path / "other", WrittenRuns(tmp_path / "runs"), settings).study) == timeless(whole)


def test_tpe_proposes_what_it_learned(tmp_path: Path) -> None:
    settings = replace(TPE, trials=10, widen=0)
    sobol = run_written(tmp_path / "sobol", WrittenRuns(tmp_path / "runs"), replace(settings, sampler="sobol")).study
    tpe = run_written(tmp_path / "tpe", WrittenRuns(tmp_path / "runs"), settings).study
    assert values_of(tpe, "lora")[:3] == values_of(sobol, "lora")[:3]
    assert values_of(tpe, "lora")[3:] != values_of(sobol, "lora")[3:]
    spreads = []
    for study in (tpe, sobol):
        spreads.append(sum(abs(trial.value - 0.9) for trial in study.methods[0].trials[3:] if trial.value))
    assert spreads[0] < spreads[1]


def test_a_trial_that_fails_counts_and_is_tried_again(tmp_path: Path) -> None:
    settings = replace(SETTINGS, widen=0)
    runs = WrittenRuns(tmp_path / "runs", failing=[("lora", 2)])
    study = run_written(tmp_path / "study", runs, settings).study
    failed = study.methods[0].trials[1]
    assert (failed.status, failed.value, failed.message) == ("failed", None, "out of memory")
    assert len(runs.started) == 8  # the others were run, and it once
    again = WrittenRuns(tmp_path / "runs")
    study = run_written(tmp_path / "study", again, settings).study
    assert again.started == [("lora", 2)]
    assert all(trial.status == "done" for method in study.methods for trial in method.trials)


def test_a_study_of_failures_ends(tmp_path: Path) -> None:
    failing = [(method.label, number) for method in METHODS for number in range(1, 5)]
    study = run_written(tmp_path / "study", WrittenRuns(tmp_path / "runs", failing=failing)).study
    assert [method.best for method in study.methods] == [None, None]
    assert study.widenings == ()


def test_a_range_is_made_wider_for_all_methods(tmp_path: Path) -> None:
    study = run_written(tmp_path / "study", WrittenRuns(tmp_path / "runs", best_rate=1.0)).study
    widening = study.widenings[0]
    assert (widening.first, widening.trials, widening.sides["train.learning_rate"]) == (5, 2, "high")
    assert [len(method.trials) for method in study.methods] == [6, 6]
    for method in study.methods:
        rate = method.space[0]
        assert (rate.low, rate.high, rate.widened, rate.first_low, rate.first_high) == (1e-4, 0.0316, 1, 1e-4, 1e-2)
        assert "train.learning_rate" in method.at_edge  # still, and said so
    added = values_of(study, "lora")[4:]
    assert all(1e-2 <= rate <= 0.0316 for rate in added)
