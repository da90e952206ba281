"""A real sweep on a Ray cluster of two workers on this machine; one of them is killed while its job trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.training.checkpoint import saved_checkpoints
from tests.helpers.bench import Bench
from tests.helpers.faults import checkpointed, difference, directories, left_over
from tests.helpers.waiting import wait_until

pytestmark = [pytest.mark.extras, pytest.mark.slow]
WORDS = ("-m", "task=cola", "method=lora", "seed=0,1,2", "budget=auto", "train.epochs=12", "train.log_steps=2")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start two nodes of one core each, and give the address."""
    cluster_utils: Any = pytest.importorskip("ray.cluster_utils")
    for name, value in (("RAY_USAGE_STATS_ENABLED", "0"), ("RAY_memory_monitor_refresh_ms", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 2**20}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **arguments})
    cluster.add_node(**arguments)
    yield str(cluster.address)
    cluster.shutdown()


def test_a_killed_workers_job_is_started_again_and_all_ends_as_on_one_machine(
    cluster: str, bench: Bench, tmp_path: Path
) -> None:
    whole = Bench(tmp_path / "whole", bench.data, bench.models)
    assert whole.run(*WORDS) == 0
    words = (*WORDS, "train.checkpoint_steps=1", "launch=ray", f"launch.address={cluster}")
    sweep = start(bench, *words)
    wait_until(lambda: checkpointed(bench.root) >= 2, "second run with a checkpoint", sweep)
    os.kill(worker_of_a_job(bench.root), signal.SIGKILL)
    printed, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, errors
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("seed=")] == ["done"] * 3
    assert "resumed from the checkpoint at step" in printed + errors
    names = [path.relative_to(whole.root) for path in whole.directories()]
    assert [difference(whole.root / name, bench.root / name) for name in names] == [""] * 3


def test_an_interrupted_sweep_stops_with_checkpoints_and_resumes(cluster: str, bench: Bench) -> None:
    words = (*WORDS, "train.checkpoint_steps=1", "launch=ray", f"launch.address={cluster}")
    sweep = start(bench, *words)
    wait_until(lambda: checkpointed(bench.root) >= 2, "second run with a checkpoint", sweep)
    sweep.send_signal(signal.SIGINT)
    printed, errors = sweep.communicate(timeout=200)
    assert sweep.returncode == 130, errors
    rows = [line.split()[1:3] for line in printed.splitlines() if line.startswith("seed=")]
    assert [row[0] for row in rows] == ["interrupted", "interrupted", "not"]
    assert left_over(bench.root) == 0
    assert all(saved_checkpoints(path) for path in directories(bench.root))
    again = start(bench, *words)
    printed, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors


def start(bench: Bench, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gelora_cli", *bench.arguments(*words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def worker_of_a_job(runs: Path) -> int:
    """Return the process of Ray that has started a job: the parent of one that is no sweep and works on these runs."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        command = path.read_bytes()
        if str(runs).encode() in command and b"launch=ray" not in command:
            return int((path.parent / "stat").read_text().rsplit(")", 1)[1].split()[1])
    raise AssertionError("no job runs")
