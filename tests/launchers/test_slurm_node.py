"""A sweep on a real Slurm of one node: one job is preempted in mid-training, one fails by itself, one is cancelled."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gelora_cli.core.artifacts.sweep import SweepRecord
from gelora_cli.core.codec import read_artifact
from tests.helpers.bench import Bench, predictions
from tests.helpers.metric_lines import without_times
from tests.helpers.waiting import wait_until

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "slurm_node.sh"
SECONDS = 600.0
pytestmark = [pytest.mark.extras, pytest.mark.slow, pytest.mark.distributed]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a Slurm of one node with two CPUs."""
    if importlib.util.find_spec("submitit") is None:
        pytest.skip("submitit is not installed: pip install -e '.[slurm]'")
    if os.geteuid() != 0 or any(shutil.which(name) is None for name in ("sbatch", "slurmctld", "slurmd", "munged")):
        pytest.skip("a Slurm of one node needs root, and the packages slurm-wlm and munge")
    directory = tmp_path / "slurm"
    monkeypatch.setenv("SLURM_NODE_CPUS", "2")
    monkeypatch.setenv("SLURM_NODE_PORT", str(free_port()))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    subprocess.run([SCRIPT, "up", directory], check=True)
    monkeypatch.setenv("SLURM_CONF", str(directory / "slurm.conf"))
    yield
    subprocess.run([SCRIPT, "down", directory], check=True)
    assert not directory.exists()


def free_port() -> int:
    """Return a port that is free; the next one, which the node needs as well, most likely is."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def gelora(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gelora_cli", *words], capture_output=True, text=True, check=False, timeout=SECONDS
    )


def slurm(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def test_six_jobs_of_which_one_is_preempted_one_fails_and_one_is_cancelled(node: None, bench: Bench) -> None:
    words = ["task=cola", "method=lora", "budget=rank:2", "train.epochs=60", "train.log_steps=5"]
    swept = ["-m", "train.learning_rate=0.01,1e38,0.02,0.03,0.04,0.05"]
    cluster = ["launch=slurm", "launch.cpus=1", "launch.time=10", "launch.wait=false"]
    submitted = gelora(*bench.arguments(*words, *swept, *cluster))
    assert submitted.returncode == 0, submitted.stderr
    assert len(re.findall(" queued ", submitted.stdout)) == 6
    (directory,) = (bench.root / ".sweeps").glob("2*")
    jobs = read_artifact(SweepRecord, directory / SweepRecord.FILE).jobs
    first, last = (directory / jobs[0].directories[0]).resolve(), jobs[-1].scheduler_id

    again = gelora(*bench.arguments(*words, *swept, *cluster))
    assert "none submitted, 6 in the queue already" in again.stderr

    slurm("scancel", last)
    metrics = first / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and len(metrics.read_text().splitlines()) > 3, "four lines of metrics")
    slurm("sbatch", "--partition=high", "--cpus-per-task=2", "--output=/dev/null", "--wrap=sleep 3")
    asked = ("squeue", "--noheader", "--format=%T", f"--jobs={jobs[0].scheduler_id}")
    wait_until(lambda: "PENDING" in slurm(*asked), "preemption", pause=0.2)
    listed = gelora("ls", str(bench.root)).stdout
    assert re.search(rf"preempted .* {re.escape(str(first.relative_to(bench.root)))}$", listed, re.MULTILINE)

    ended = gelora("sweep", str(directory), "wait=true", "poll_seconds=1")
    rows = [re.split("  +", line)[:2] for line in ended.stdout.rsplit("\n\n", 1)[1].splitlines()[1:]]
    assert [state for _, state in rows] == ["done", "failed", "done", "done", "done", "cancelled"], ended.stdout
    assert ended.returncode == 130
    assert "resumed from the checkpoint at step" in (first / "log.txt").read_text()

    undisturbed = gelora(*bench.arguments(*words, "train.learning_rate=0.01", f"runs_dir={bench.root}-2"))
    assert undisturbed.returncode == 0, undisturbed.stderr
    other = Path(f"{bench.root}-2") / first.relative_to(bench.root)
    weights = Path("adapter") / "adapter_model.safetensors"
    assert (first / weights).read_bytes() == (other / weights).read_bytes()
    assert predictions(first) == predictions(other)
    assert without_times(first) == without_times(other)
