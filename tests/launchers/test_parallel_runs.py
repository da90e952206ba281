"""A real sweep with two jobs side by side."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact
from gelora_cli.training.checkpoint import saved_checkpoints
from tests.helpers.bench import Bench, predictions
from tests.helpers.faults import checkpointed, difference, directories, left_over
from tests.helpers.metric_lines import without_times
from tests.helpers.waiting import wait_until


@pytest.mark.slow
def test_two_jobs_side_by_side_are_bitwise_those_one_after_the_other(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # They share a profile: one measures it and the other waits.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = ("-m", "task=cola", "method=gelora,shuffled")
    serial = Bench(tmp_path / "serial", bench.data, bench.models)
    assert serial.run(*words) == 0
    assert bench.run(*words, "launch.parallel=2") == 0
    names = [directory.relative_to(bench.root) for directory in bench.directories()]
    assert names == [directory.relative_to(serial.root) for directory in serial.directories()]
    assert len(names) == 2
    reused = []
    for name in names:
        assert predictions(bench.root / name) == predictions(serial.root / name)
        assert without_times(bench.root / name) == without_times(serial.root / name)
        adapters = [root / name / "adapter" / "adapter_model.safetensors" for root in (bench.root, serial.root)]
        assert adapters[0].read_bytes() == adapters[1].read_bytes()
        reused.append(read_artifact(RunResult, bench.root / name / RunResult.FILE).profile_reused)
    assert sorted(reused) == [False, True]
    capfd.readouterr()
    assert bench.run(*words, "launch.parallel=2") == 0
    assert capfd.readouterr().out.count("already done") == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: signal.Signals(number).name)
def test_jobs_side_by_side_stop_with_a_checkpoint_and_the_same_command_resumes_bitwise(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = ["-m", "task=cola", "method=lora", "seed=0,1,2", "budget=auto", "train.epochs=12", "train.log_steps=2"]
    whole = Bench(tmp_path / "whole", bench.data, bench.models)
    assert whole.run(*words) == 0

    steps = ["train.checkpoint_steps=1", "launch.parallel=2"]
    command = [sys.executable, "-m", "gelora_cli", *bench.arguments(*words, *steps)]
    sweep = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: checkpointed(bench.root) >= 2, "second run with a checkpoint", sweep)
    sweep.send_signal(number)
    printed, _ = sweep.communicate(timeout=120)
    assert sweep.returncode == 130
    rows = [line.split()[:3] for line in printed.splitlines() if line.startswith("seed=")]
    assert rows == [["seed=0", "interrupted", "-"], ["seed=1", "interrupted", "-"], ["seed=2", "not", "started"]]
    assert all(saved_checkpoints(path) for path in directories(bench.root))
    assert left_over(bench.root) == 0

    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    names = [path.relative_to(whole.root) for path in whole.directories()]
    assert len(names) == 3
    assert [difference(whole.root / name, bench.root / name) for name in names] == [""] * 3
