"""One run on two nodes: two agents of torchrun over a loopback address, each in a folder of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from gelora_cli.core.errors import RunError
from tests.helpers.bench import Bench
from tests.helpers.faults import children, difference, last_whole, only
from tests.helpers.nodes import end_nodes, start_nodes
from tests.helpers.rows import write_task
from tests.helpers.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.distributed]
WORDS = ("task=cola", "method=gelora", "budget=auto", "train.epochs=6", "train.log_steps=2")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_a_node_that_is_killed_ends_the_other_and_both_resume_bitwise(bench: Bench, tmp_path: Path) -> None:
    whole = Bench(tmp_path / "whole", bench.data, bench.models)
    assert whole.run(*WORDS, "launch.processes=2") == 0

    command = bench.arguments(*WORDS, "train.checkpoint_steps=1")
    nodes = start_nodes(tmp_path, command, command)
    wait_until(lambda: last_whole(bench.root) >= 5, "checkpoint at step 5", nodes[0])
    for pid in (nodes[1].pid, *children(nodes[1].pid)):
        os.kill(pid, signal.SIGKILL)
    first, _ = end_nodes(nodes)
    assert first.code == RunError.exit_code
    assert "gelora: process 0 of 2 lost another one" in first.err
    assert "report it as a fault" not in first.err

    again = end_nodes(start_nodes(tmp_path, command, command))
    assert [node.code for node in again] == [0, 0], again[0].err
    assert "resumed from the checkpoint at step" in again[0].err
    assert difference(only(whole.root), only(bench.root)) == ""
    assert [*(tmp_path / "0").iterdir(), *(tmp_path / "1").iterdir()] == []  # nothing is written where they work


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs a path that means another folder on each node")
def test_nodes_with_other_rows_are_refused(bench: Bench, tmp_path: Path) -> None:
    # The path is the same on both, as where each machine has a copy.
    write_task(tmp_path / "others", "cola", train=80)
    for rank, data in enumerate((bench.data, tmp_path / "others")):
        (tmp_path / str(rank)).mkdir()
        (tmp_path / str(rank) / "glue").symlink_to(data)
    command = bench.arguments(*WORDS, "data.glue=/proc/self/cwd/glue")
    ended = end_nodes(start_nodes(tmp_path, command, command))
    assert all(node.code for node in ended)
    assert all("the machines of this run differ: train (" in node.err for node in ended), ended[0].err
    assert not [*bench.root.rglob("metrics.jsonl")]
