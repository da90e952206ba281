"""What a run says at its end: the value beside the one to beat, seconds, files, the next command; on any terminal."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.commands.run_summary import run_summary
from gelora_cli.config.files import read_config
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.plan import PlanStability
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact
from gelora_cli.pipeline.baseline import constant_baseline
from gelora_cli.pipeline.run import FinishedRun
from tests.helpers.bench import Bench
from tests.helpers.written_runs import write_run

SECONDS = {"model": 7.72, "profile": 12.4, "train": 1234.5, "reload": 0.0}


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FinishedRun:
    monkeypatch.chdir(tmp_path)
    directory = write_run(tmp_path / "runs", "gelora", 0, 0.5)
    config = read_config(directory / run_files.CONFIG)
    config = replace(config, task=replace(config.task, metric="accuracy"), runs_dir=str(tmp_path / "runs"))
    return FinishedRun(directory, config, read_artifact(RunResult, directory / RunResult.FILE), 0.75, SECONDS)


def test_the_end_of_a_run_says_value_baseline_seconds_files_and_what_is_next(finished: FinishedRun) -> None:
    lines = run_summary(finished, wants_track=False, sweeping=False).splitlines()
    assert lines == [
        "value:    accuracy 0.5000 on 10 examples of validation",
        "to beat:  accuracy 0.7500 with the most common label for every example",
        "seconds:  1,255 in all: loading 7.7, profile 12, training and evaluation 1,234, reload check 0.0",
        "results:  runs/gelora/s0-0.1/result.json",
        "files:    README.md (model card), log.txt in the same directory",
        "next:",
        "  gelora predict runs/gelora/s0-0.1 file=sentences.txt",
        "  gelora export runs/gelora/s0-0.1 output=exported",
        "  gelora ls runs",
    ]


def test_the_verdict_on_the_plan_is_said(finished: FinishedRun) -> None:
    stability = PlanStability("unstable", 0.71, None, (), (), (), half_agreement=0.6, quarter_agreement=0.5)
    text = run_summary(replace(finished, stability=stability), wants_track=False, sweeping=True)
    assert "plan:     unstable (another sample keeps 71 %)" in text.splitlines()


@pytest.mark.parametrize(("before", "worse"), [(0.6, True), (0.5, False), (0.4, False)])
def test_a_value_below_that_before_the_first_step_is_said(finished: FinishedRun, before: float, worse: bool) -> None:
    start = replace(finished.result.results[0], metrics={"accuracy": before})
    train = replace(finished.result.train, before=(start,))
    text = run_summary(
        replace(finished, result=replace(finished.result, train=train)), wants_track=False, sweeping=True
    )
    assert f"before:   accuracy {before:.4f} before the first step" in text
    assert ("which is better: try a lower train.learning_rate" in text) == worse


def test_the_seconds_of_a_linked_run_are_those_of_the_other(finished: FinishedRun, tmp_path: Path) -> None:
    linked = replace(finished, same_as=tmp_path / "other", spent=0.25)
    linked = replace(linked, result=replace(finished.result, profile_reused=True))
    text = run_summary(linked, wants_track=False, sweeping=True)
    assert (
        "seconds:  0.2 now, without training; the run that was trained took 1,255 in all: loading 7.7, profile" in text
    )


def test_a_resumed_run_says_the_seconds_of_all_attempts(finished: FinishedRun) -> None:
    train = replace(finished.result.train, seconds=2000.0, evaluation_seconds=34.0)
    resumed = replace(finished, result=replace(finished.result, train=train))
    (line,) = [
        text for text in run_summary(resumed, wants_track=False, sweeping=True).splitlines() if "seconds" in text
    ]
    assert line.startswith("seconds:  1,255 since it was resumed: loading")
    assert line.endswith("of all attempts training and evaluation 2,034")


def test_a_job_of_a_sweep_names_no_next_command(finished: FinishedRun) -> None:
    assert "next:" not in run_summary(finished, wants_track=False, sweeping=True)


def test_a_run_that_was_done_before_or_not_tracked_says_so(finished: FinishedRun) -> None:
    text = run_summary(replace(finished, already_done=True), wants_track=True, sweeping=True)
    assert "done before, nothing to do (force=true runs it again): runs/gelora/s0-0.1" in text
    assert "this run was not tracked" in text


def test_a_command_to_paste_quotes_a_directory_with_a_space(finished: FinishedRun, tmp_path: Path) -> None:
    moved = finished.directory.rename(tmp_path / "my run")
    text = run_summary(replace(finished, directory=moved), wants_track=False, sweeping=False)
    line = next(line for line in text.splitlines() if "gelora predict" in line)
    assert shlex.split(line)[2] == "my run"


@pytest.mark.parametrize("width", [60, 80])
def test_on_a_terminal_no_line_but_a_path_or_a_command_is_longer_than_it(
    finished: FinishedRun, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((width, 24)))
    remark = "collapsed: one label for all rows, which is what a model that has learned nothing predicts"
    lines = run_summary(replace(finished, remarks=(remark,)), wants_track=False, sweeping=False).splitlines()
    assert max(len(line) for line in lines if "gelora" not in line) <= width
    assert any(line.startswith("note:") for line in lines)


def rows(labels: list[str]) -> str:
    values: list[dict[str, Any]] = [{"split": "validation", "prediction": "b", "label": label} for label in labels]
    return "".join(json.dumps(row) + "\n" for row in [*values, {"split": "other", "prediction": "b", "label": "b"}])


@pytest.mark.parametrize(
    ("metric", "reported", "value"), [("accuracy", "accuracy", 0.75), ("mcc", "matthews_correlation", 0.0)]
)
def test_the_majority_baseline_is_the_most_common_label_of_the_reported_split(
    finished: FinishedRun, metric: str, reported: str, value: float
) -> None:
    task = replace(finished.config.task, labels=["a", "b"], metric=metric)
    (finished.directory / run_files.PREDICTIONS).write_text(rows(["a", "b", "a", "a"]))
    assert constant_baseline(finished.directory, task, replace(finished.result, reported=reported)) == value


def test_without_saved_predictions_there_is_no_baseline(finished: FinishedRun) -> None:
    assert constant_baseline(finished.directory, finished.config.task, finished.result) is None
    (finished.directory / run_files.PREDICTIONS).unlink()
    assert constant_baseline(finished.directory, finished.config.task, finished.result) is None


def test_what_is_next_names_the_place_that_runs_were_moved_to(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("task=sst2", "method=bitfit") == 0
    bench.root = bench.root.rename(bench.root.with_name("moved"))
    capsys.readouterr()
    assert bench.run("task=sst2", "method=bitfit") == 0
    printed = capsys.readouterr().out
    assert "done before" in printed
    assert f"gelora predict {bench.only()} " in printed and f"gelora ls {bench.root}\n" in printed
    assert "runs" not in printed.replace("runs it again", "")
