"""A run with the ranks of a finished one is linked to it, and counts as what it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.codec import read_artifact
from gelora_cli.report.grid import grid_table
from tests.helpers.bench import Bench, predictions, result_of
from tests.helpers.metric_lines import without_times

EVEN = ["task=cola", "budget=rank:1", "ranks.on_deficit=shrink", "data.max_train_examples=40"]
"""Rank 1 everywhere, whatever the profile says."""
UNEVEN = ["task=cola", "budget=auto", "profile.pooling=cls", "data.max_train_examples=40"]


def place_of(bench: Bench, method: str) -> Path:
    (directory,) = (path for path in bench.directories() if path.parent.name == method)
    return directory


def manifest_of(directory: Path) -> RunManifest:
    return read_artifact(RunManifest, directory / RunManifest.FILE)


def test_a_control_with_geloras_ranks_is_linked_and_could_as_well_be_trained(
    bench: Bench,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench.run(*EVEN) == 0
    assert "so method=lora trains the same" in capsys.readouterr().err
    gelora = place_of(bench, "gelora")
    assert bench.run(*EVEN, "method=lora", "dry_run=true") == 0
    dry_run = capsys.readouterr().out
    assert f"It has the ranks of {gelora}" in dry_run
    assert "it would be linked" in dry_run
    assert len(bench.directories()) == 1
    assert bench.run(*EVEN, "method=lora") == 0
    shown = capsys.readouterr()
    assert f"not trained: it has the ranks of {gelora}, so it is the same run" in shown.out
    assert "training:" not in shown.err
    lora = place_of(bench, "lora")
    assert (lora / str(manifest_of(lora).same_as)).resolve() == gelora.resolve()
    assert (result_of(lora).method, read_artifact(RankPlan, lora / RankPlan.FILE).method) == ("lora", "lora")
    assert result_of(lora).value == result_of(gelora).value
    assert "its ranks are those of method=gelora" in (lora / "README.md").read_text()
    assert "curve.png" in (lora / "DONE").read_text()
    assert bench.run(*EVEN, "method=shuffled", "seed=0") == 0
    assert "linked" not in grid_table([bench.root])  # one row, named after all three
    assert "gelora = lora = shuffled" in grid_table([bench.root])
    capsys.readouterr()
    assert command_line(["ls", str(bench.root)]) == 0
    listed = capsys.readouterr().out
    assert f"cola/bert/lora/{lora.name}: the same run as cola/bert/gelora/{gelora.name}" in listed
    assert bench.run(*EVEN, "method=lora") == 0
    assert "done before" in capsys.readouterr().out
    assert command_line(["evaluate", str(lora), f"output={tmp_path / 'again.json'}"]) == 0
    again = json.loads((tmp_path / "again.json").read_text())["results"][0]["metrics"]
    assert again == result_of(gelora).results[0].metrics
    linked = predictions(lora), without_times(lora)
    assert bench.run(*EVEN, "method=lora", "force=true") == 0
    assert manifest_of(lora).same_as is None
    assert (predictions(lora), without_times(lora)) == linked
    weights = "adapter/adapter_model.safetensors"
    assert (lora / weights).read_bytes() == (gelora / weights).read_bytes()


def test_gelora_is_linked_to_a_control_that_was_first(bench: Bench) -> None:
    assert bench.run(*EVEN, "method=lora") == 0
    assert bench.run(*EVEN) == 0
    gelora = place_of(bench, "gelora")
    assert manifest_of(gelora).same_as == f"../../lora/{place_of(bench, 'lora').name}"
    assert read_artifact(RankPlan, gelora / RankPlan.FILE).blocks[0].rank_low == 1
    shutil.rmtree(place_of(bench, "lora"))
    table = grid_table([bench.root])
    assert "gelora (1 linked)" in table
    assert bench.run(*EVEN, "method=shuffled") == 0  # a linked run is no run to link to
    assert manifest_of(place_of(bench, "shuffled")).same_as is None


def test_other_ranks_or_settings_are_trained(bench: Bench) -> None:
    assert bench.run(*UNEVEN) == 0
    assert bench.run(*UNEVEN, "method=reversed") == 0
    plans = [read_artifact(RankPlan, place_of(bench, method) / RankPlan.FILE) for method in ("gelora", "reversed")]
    assert plans[0].ranks != plans[1].ranks
    assert manifest_of(place_of(bench, "reversed")).same_as is None
    assert bench.run(*EVEN) == 0
    assert bench.run(*EVEN, "method=lora", "train.learning_rate=0.02") == 0
    assert manifest_of(place_of(bench, "lora")).same_as is None


def test_a_damaged_run_is_not_linked_to(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(*EVEN) == 0
    (place_of(bench, "gelora") / "predictions.jsonl").write_text("{}\n")
    assert bench.run(*EVEN, "method=lora") == 0
    assert "not linked to" in capsys.readouterr().err
    assert manifest_of(place_of(bench, "lora")).same_as is None


@pytest.mark.slow
def test_runs_of_other_signals_or_of_none_are_linked_by_their_ranks(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["task=cola", "budget=rank:1", "data.max_train_examples=40"]
    assert bench.run(*shared, "method=weights") == 0
    weights = place_of(bench, "weights")
    capsys.readouterr()
    # The idim is not measured yet, so that the plan is known only in the run itself.
    assert bench.run(*shared, "method=lora") == 0
    shown = capsys.readouterr()
    assert f"not trained: it has the ranks of {weights}" in shown.out
    assert "training:" not in shown.err
    lora = place_of(bench, "lora")
    assert (lora / "profile.json").exists() and not (lora / "signal-weights.json").exists()
    assert (lora / str(manifest_of(lora).same_as)).resolve() == weights.resolve()
    assert result_of(lora).method == read_artifact(RankPlan, lora / RankPlan.FILE).method == "lora"
    # These read no signal; their settings choose nothing but ranks.
    ranks = tmp_path / "mine.csv"
    ranks.write_text("block,rank\n1,1\n2,1\n3,1\n")
    assert bench.run(*shared, "method=depth", "method.shape=falling") == 0
    assert bench.run(*shared, "method=file", f"method.path={ranks}", "dry_run=true") == 0
    assert "it would be linked" in capsys.readouterr().out
    assert bench.run(*shared, "method=file", f"method.path={ranks}") == 0
    for method in ("depth", "file"):
        assert (place_of(bench, method) / str(manifest_of(place_of(bench, method)).same_as)).resolve() == weights
    # The content of the file is part of the run, and its name is not.
    capsys.readouterr()
    assert bench.run(*shared, "method=file", f"method.path={ranks.rename(tmp_path / 'moved.csv')}") == 0
    assert "done before" in capsys.readouterr().out
    (tmp_path / "moved.csv").write_text("block,rank\n1,1\n2,1\n3,0\n")
    assert bench.run(*shared, "method=file", f"method.path={tmp_path / 'moved.csv'}", "dry_run=true") == 0
    assert "it would be linked" not in capsys.readouterr().out
    assert command_line(["ls", str(bench.root)]) == 0
    assert f"the same run as cola/bert/weights/{weights.name}" in capsys.readouterr().out
