"""A dry run forecasts memory from config.json alone, and tries no step where that can't work."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from gelora_cli.config import stored_weights
from gelora_cli.config.complete import complete
from gelora_cli.models import memory
from gelora_cli.pipeline import forecast
from gelora_cli.pipeline.inputs import resolve_inputs
from tests.helpers.bench import Bench
from tests.helpers.composed import composed
from tests.helpers.stored import make_published_in_bf16

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
    assert "on a GPU: one with 24 GB is enough" in shown and "not run on a GPU" in shown
    assert f"the weights of {bare} are not there" in shown and "run directory" not in shown
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


def test_four_bits_are_forecast_where_their_package_is_missing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stored_weights, "find_spec", lambda name: None)
    monkeypatch.setattr(memory, "CARDS", (1,))
    bare = without_weights(bench.models["llama"], tmp_path / "bare")
    (bare / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}', encoding="utf-8")
    words = ("task=cola", f"model.path={bare}", "model.dtype=4bit")
    assert bench.run(*words, "dry_run=true") == 0
    shown = capsys.readouterr().out
    assert "model.dtype=4bit needs the package bitsandbytes: pip install" in shown
    assert f"the weights of {bare} are not there" in shown
    less = "what takes less: train.gradient_checkpointing=true, train.micro_batch_size below 16, task.max_length below"
    assert less in shown
    assert bench.run(*words) == 2


def test_generated_tokens_are_named_where_an_evaluation_takes_most(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "CARDS", (1,))
    bare = without_weights(bench.models["llama"], tmp_path / "bare")
    assert bench.run("task=plural", f"model.path={bare}", "task.max_new_tokens=9999", "dry_run=true") == 0
    shown = capsys.readouterr().out
    less = (
        "train.eval_batch_size below 64, task.max_new_tokens below 9,999, model.dtype=bf16, model.dtype=4bit, task.max"
    )
    assert less in shown


def test_loading_takes_half_where_a_decoder_is_published_in_bf16(bench: Bench, tmp_path: Path) -> None:
    shown = {}
    published = make_published_in_bf16("llama", tmp_path / "bf16")
    for task in ("plural", "cola"):  # a head that is drawn is drawn in float32
        words = (f"task={task}", f"model.path={published}", "model.dtype=bf16", "method.modules=all", "budget=rank:1")
        found = forecast.RunForecast(resolve_inputs(complete(composed(*words, f"data.glue={bench.data}"))))
        shown[task] = found.memory.loading / found.memory.weights
    assert shown["plural"] == pytest.approx(1, abs=0.02) and shown["cola"] == pytest.approx(2, abs=0.04)
