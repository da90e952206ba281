"""A run that `train.patience` ends: what its files, its summary and a report say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gelora_cli.commands.main import command_line
from tests.helpers.bench import Bench, result_of

PATIENT = ("task=cola", "method=lora", "budget=2500", "protocol=split", "train.learning_rate=1e-9", "train.epochs=3")


def test_a_run_says_that_it_stopped_early(
    tmp_path: Path, glue_dir: Path, tiny_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, stopped = (Bench(tmp_path / name, glue_dir, tiny_models) for name in ("whole", "stopped"))
    assert whole.run(*PATIENT) == 0
    capsys.readouterr()
    assert stopped.run(*PATIENT, "train.patience=1") == 0
    printed = capsys.readouterr()
    text = "stopped after 2 of 3 epochs by train.patience=1: epoch 1 is the best, the epoch after it was not better"
    assert text in printed.out
    directory = stopped.only()
    assert text in (directory / "README.md").read_text()
    assert text in (directory / "log.txt").read_text()
    result, other = result_of(directory), result_of(whole.only())
    train, longer = result.train, other.train
    assert (train.epochs, train.planned_epochs, longer.epochs, longer.planned_epochs) == (2, 3, 3, 3)
    assert train.steps * 3 == longer.steps * 2
    assert result.value == other.value  # at a rate of nothing the first epoch is the best of both
    assert [row[0].metrics for row in train.evaluations] == [row[0].metrics for row in longer.evaluations[:2]]
    assert result.costs is not None and other.costs is not None
    assert result.costs.training_flops / other.costs.training_flops == pytest.approx(2 / 3, rel=0.05)
    assert command_line(["report", str(tmp_path), f"output={tmp_path / 'report'}", "figures.draw=false"]) == 0
    assert "1 stopped early" in (tmp_path / "report" / "report.html").read_text()
