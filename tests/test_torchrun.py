"""Several processes that an outer launcher has started, as `torchrun -m gelora_cli run ...` does it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gelora_cli import rundir
from gelora_cli.artifacts import RunManifest, read_artifact
from gelora_cli.cli import command_line
from gelora_cli.config import read_config
from tests.test_pipeline import Bench, bench  # noqa: F401 - a fixture

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gelora_cli"]


@pytest.mark.distributed
def test_the_first_of_them_leads_a_run(bench: Bench) -> None:  # noqa: F811
    arguments = bench.arguments("task=cola", "train.max_steps=4")
    done = subprocess.run([*TORCHRUN, *arguments], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("results: ") == 1
    directory = bench.only()
    assert rundir.status(directory) == "done"
    assert read_config(directory / rundir.CONFIG).launch.processes == 2
    assert read_artifact(RunManifest, directory / RunManifest.FILE).processes == 2
    assert "processes 2" in (directory / "log.txt").read_text()
    with rundir.locked(directory, "the run directory"):
        refused = [*TORCHRUN, *arguments, "force=true"]
        done = subprocess.run(refused, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode != 0
    assert done.stderr.count("gelora: the run directory") == 1


@pytest.mark.parametrize("asked", ["dry_run=true", "-m"])
def test_what_looks_at_one_process_is_refused(
    bench: Bench,  # noqa: F811
    asked: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert command_line(bench.arguments("task=cola", asked)) == 2
    assert "leave the launcher (torchrun) out" in capsys.readouterr().err
    assert not Path(bench.root).exists()
