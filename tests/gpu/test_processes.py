"""Processes and GPUs: too many are refused in words, several GPUs train as one, and doctor names what is there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from gelora_cli.commands.diagnosis import findings
from tests.helpers.bench import Bench
from tests.helpers.many import LAUNCH
from tests.helpers.metric_lines import losses_of

pytestmark = pytest.mark.gpu

several = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs: several were not tested here")
one = pytest.mark.skipif(torch.cuda.device_count() > 1, reason="needs a machine with one GPU")


def test_more_processes_than_gpus_are_refused(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    count = torch.cuda.device_count()
    assert bench.run("task=cola", f"launch.processes={count + 1}") == 2
    assert f"launch.processes={count + 1}: this machine has {count} GPU" in capfd.readouterr().err
    assert bench.directories() == []


@one
def test_torchrun_with_two_processes_on_one_gpu_is_refused(bench: Bench) -> None:
    words = [*LAUNCH, "-m", "gelora_cli", *bench.arguments("task=cola", "method=lora")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode != 0
    assert "2 processes were started on this machine, which has 1 GPU" in done.stderr
    assert "Traceback" not in done.stderr.split("ChildFailedError")[0].split("torch/distributed")[0]
    assert bench.directories() == []


@several
@pytest.mark.parametrize("method", ["gelora", "adalora"])
def test_two_gpus_train_as_one(tmp_path: Path, glue_dir: Path, tiny_models: dict[str, Path], method: str) -> None:
    losses = []
    for processes in (1, 2):
        bench = Bench(tmp_path / str(processes), glue_dir, tiny_models)
        words = ["model.dropout=0", "train.log_steps=1", "budget=2500", f"launch.processes={processes}"]
        assert bench.run("task=cola", f"method={method}", *words) == 0
        losses.append(losses_of(bench.only()))
    assert losses[1] == pytest.approx(losses[0], rel=2e-4)


def test_doctor_names_the_gpus(tmp_path: Path) -> None:
    (devices,) = (finding for finding in findings(tmp_path) if finding.what == "devices")
    assert devices.state == "ok"
    assert torch.cuda.get_device_name(0) in devices.text and "GiB" in devices.text
