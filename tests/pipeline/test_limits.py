"""What is met in mid-run: a model that vanishes, a place not writable any more, a forced run that is stopped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gelora_cli.core import run_files
from gelora_cli.core.errors import StoppedError
from gelora_cli.core.status import run_status
from gelora_cli.pipeline.start_log import busy_cores
from gelora_cli.training import evaluation
from gelora_cli.training.checkpoint import latest_valid_checkpoint, saved_checkpoints
from tests.helpers.bench import Bench, predictions
from tests.helpers.metric_lines import without_times

RUN = ("task=cola", "train.epochs=3", "train.checkpoint_steps=2")


@pytest.fixture
def at_second_evaluation(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Have something done when the second epoch is evaluated."""

    def plan(action: Callable[[], None]) -> None:
        evaluate = evaluation.evaluate
        calls: list[None] = []

        def evaluated(*given: Any) -> evaluation.Evaluation:
            calls.append(None)
            if len(calls) == 2:
                action()
            return evaluate(*given)

        monkeypatch.setattr(evaluation, "evaluate", evaluated)

    return plan


def test_a_model_that_vanishes_leaves_the_checkpoint_and_the_run_goes_on(
    bench: Bench,
    tmp_path: Path,
    at_second_evaluation: Callable[[Callable[[], None]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    moved = tmp_path / "mine"
    shutil.copytree(bench.models["bert"], moved)
    mine = Bench(bench.root, bench.data, {"bert": moved})

    def vanish() -> None:
        moved.rename(tmp_path / "elsewhere")

    at_second_evaluation(vanish)
    assert mine.run(*RUN) in (1, 2)
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("gelora: ")
    assert str(moved) in message
    assert run_status(mine.only()) == "failed"
    assert latest_valid_checkpoint(mine.only()) is not None
    shutil.move(tmp_path / "elsewhere", moved)
    assert mine.run(*RUN) == 0
    assert "resumed from the checkpoint" in capsys.readouterr().err
    assert run_status(mine.only()) == "done"


def test_a_place_that_is_no_longer_writable_is_one_message_and_the_run_goes_on(
    bench: Bench,
    at_second_evaluation: Callable[[Callable[[], None]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def replace() -> None:
        """Put a file where the directory of checkpoints was: a directory that is read-only does not stop root."""
        place = bench.only() / run_files.CHECKPOINTS
        place.rename(bench.only() / ".kept")
        place.write_text("")

    at_second_evaluation(replace)
    assert bench.run(*RUN) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "can't be written" in message
    assert run_status(bench.only()) == "failed"
    (bench.only() / run_files.CHECKPOINTS).unlink()
    (bench.only() / ".kept").rename(bench.only() / run_files.CHECKPOINTS)
    assert len(saved_checkpoints(bench.only())) == 1
    assert bench.run(*RUN) == 0
    assert "resumed from the checkpoint" in capsys.readouterr().err


def test_a_forced_run_that_was_stopped_goes_on_with_the_same_command(
    bench: Bench,
    at_second_evaluation: Callable[[Callable[[], None]], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench.run(*RUN) == 0
    whole = without_times(bench.only()), predictions(bench.only())

    def stop() -> None:
        raise StoppedError("stopped by the test")

    with monkeypatch.context():
        at_second_evaluation(stop)
        assert bench.run(*RUN, "force=true") == StoppedError.exit_code
    capsys.readouterr()
    assert run_status(bench.only()) == "interrupted"
    assert bench.run(*RUN, "force=true") == 0
    assert "resumed from the checkpoint" in capsys.readouterr().err
    assert (without_times(bench.only()), predictions(bench.only())) == whole
    assert bench.run(*RUN, "force=true") == 0
    assert "resumed from the checkpoint" not in capsys.readouterr().err


def test_force_drops_no_checkpoint_whatever_the_words_of_the_command(
    bench: Bench,
    at_second_evaluation: Callable[[Callable[[], None]], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop() -> None:
        raise StoppedError("stopped by the test")

    with monkeypatch.context():
        at_second_evaluation(stop)
        assert bench.run(*RUN) == StoppedError.exit_code
    capsys.readouterr()
    assert bench.run(*RUN, "budget=auto", "train.log_steps=1", "force=true") == 0
    said = capsys.readouterr().err
    assert "resumed from the checkpoint" in said
    assert f"delete {bench.only() / run_files.CHECKPOINTS} to start from scratch" in said


def test_a_dry_run_names_the_task_first_and_the_rows_of_the_profile(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run("task=cola", "budget=rank:3", "data.max_train_examples=21", "dry_run=true") == 0
    text = capsys.readouterr().out
    assert text.startswith("task cola, model ")
    assert "whatever data.max_train_examples is; profile.max_examples=21 takes fewer)" in text
    assert bench.run("task=cola", "budget=rank:3", "dry_run=true") == 0
    assert "takes fewer" not in capsys.readouterr().out


def test_a_busy_machine_is_named_where_threads_would_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (4.5, 0.0, 0.0))
    assert "(load 4.5, 4 cores)" in busy_cores("cpu")
    assert busy_cores("cuda") == ""
    monkeypatch.setattr(os, "getloadavg", lambda: (3.5, 9.0, 9.0))
    assert busy_cores("cpu") == ""


def test_a_dry_run_refuses_what_the_run_would(
    bench: Bench,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench.run("task=cola", "dry_run=true", command="train") == 2
    assert "no saved profile in" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert bench.run("task=cola", "dry_run=true", f"runs_dir={tmp_path / 'file' / 'below'}") == 2
    assert "Choose another with runs_dir=DIR" in capsys.readouterr().err
    assert bench.run("task=cola", "dry_run=true", "method=lora", "budget=rank:3") == 0
    assert "ranks of the 3 blocks: 3 3 3" in capsys.readouterr().out
