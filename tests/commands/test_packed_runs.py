"""Commands that start runs, with an archive in which some are done: nothing is trained again, and no directory made."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gelora_cli.archive.reading import read_archive
from gelora_cli.archive.writing import pack
from gelora_cli.commands.main import command_line
from gelora_cli.core.artifacts.study import Study
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.status import find_runs
from gelora_cli.launchers.local import LocalProcesses
from tests.helpers.bench import FAST, Bench, answer_here


def test_runs_of_an_archive_are_done_for_every_command(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_here(monkeypatch)
    space = tmp_path / "space.yaml"
    space.write_text("train.learning_rate: {low: 1.0e-3, high: 1.0e-1, log: true}\n")
    fixed = ["task=sst2", "method=bitfit", f"model.path={bench.models['bert']}", f"data.glue={bench.data}"]
    fixed += [f"runs_dir={bench.root}", *[word for word in FAST if "learning_rate" not in word]]
    tune = ["tune", *fixed, "tune.trials=1", "tune.widen=0", f"tune.space={space}", "launch.launcher=in_place"]
    assert command_line(tune) == 0
    (file,) = (bench.root / "tune").glob(f"*/{Study.FILE}")
    study = read_artifact(Study, file)
    trial = study.methods[0].trials[0]
    archive = tmp_path / "done.zst"
    pack([bench.root], archive, mix_commits=True)
    (path,) = read_archive(archive).runs
    assert read_archive(archive).study(f"tune/{file.parent.name}") == study
    shutil.rmtree(bench.root)
    packed = [f"archives=[{archive}]"]

    capsys.readouterr()
    assert command_line([*tune, *packed]) == 0
    assert find_runs(bench.root) == []
    again = read_artifact(Study, file)
    found = again.methods[0].trials[0]
    assert (file.parent / found.directory).resolve() == archive / path
    assert replace(found, directory="") == replace(trial, directory="")
    assert command_line([*tune, *packed]) == 0  # the study knows its trial, which is in the archive alone
    assert "1 done before" in capsys.readouterr().out

    rate = trial.values["train.learning_rate"]
    run = [*fixed, f"train.learning_rate={rate}", "data.holdout=0.1", *packed]
    assert command_line(["run", *run]) == 0
    printed = capsys.readouterr().out
    assert f"done before, nothing to do (force=true runs it again): {archive / path}" in printed
    assert f"{trial.value:.4f}" in printed and "in the archive, without the adapter" in printed
    assert "gelora predict" not in printed
    monkeypatch.setattr(LocalProcesses, "run", lambda *_: pytest.fail("a launcher got a job whose run is packed"))
    assert command_line(["run", "-m", *run, "seed=0"]) == 0
    printed = capsys.readouterr().out
    assert "already done" in printed and f"{trial.value:.4f}" in printed
    assert command_line(["run", *run, "dry_run=true"]) == 0
    assert "This run is finished: the command would do nothing." in capsys.readouterr().out
    assert find_runs(bench.root) == []


def test_an_archive_that_is_not_there_is_said_before_any_work(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("task=cola", "archives=[gone.zst,other.zst]") == 2
    printed = capsys.readouterr().err
    assert "archives=[gone.zst]: no such file" in printed and "archives=[other.zst]: no such file" in printed
    assert not bench.root.exists()
