"""A dry run forecasts memory from config.json alone, and tries no step where that can't work."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from gelora_cli.pipeline import forecast
from tests.helpers.bench import Bench

FORECAST = re.compile(r"training ([\d.]+) GB \((\d+) x (\d+) tokens\): weights [\d.]+, trained")


def without_weights(model: Path, directory: Path) -> Path:
    shutil.copytree(model, directory, ignore=shutil.ignore_patterns("*.safetensors"))
    return directory


def test_memory_is_forecast_before_the_weights_are_there(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = without_weights(bench.models["llama"], tmp_path / "bare")
    words = ("task=cola", f"model.path={bare}", "train.micro_batch_size=4")
    assert bench.run(*words, "dry_run=true") == 0
    shown = capsys.readouterr().out
    found = FORECAST.search(shown)
    assert found and int(found[2]) == 4
    assert "on a graphics card, of which one of 24 GB suffices" in shown and "not run on a GPU" in shown
    assert f"The weights of {bare} are not there" in shown and "run directory" not in shown
    assert bench.run(*words) == 2  # a run needs them
    assert "has no model.safetensors" in capsys.readouterr().err
    assert not bench.root.exists()


def test_a_dry_run_tries_nothing_that_memory_does_not_hold(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(forecast, "available_bytes", lambda: 1000)
    assert bench.run("task=cola", "dry_run=true") == 0
    shown = capsys.readouterr().out
    assert FORECAST.search(shown) and "Only 0.0 GB are free here" in shown
    assert "train.gradient_checkpointing=true" in shown and "training: " not in shown
