"""`train.fast` on the GPU: steps are replayed as CUDA graphs, with the losses of plain steps, and resume bitwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gelora_cli.training.graphs import GraphedPasses
from tests.helpers.bench import Bench
from tests.helpers.gpu import SHORT, STOPPED_AT, saved_adapter, stop_at
from tests.helpers.metric_lines import losses_of

pytestmark = pytest.mark.gpu


def recorded_replays(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Record for every step from now on whether it was a graph's."""
    replayed: list[bool] = []
    run = GraphedPasses.run

    def recorded(passes: GraphedPasses, rows: NDArray[np.int64]) -> bool:
        replayed.append(run(passes, rows))
        return replayed[-1]

    monkeypatch.setattr(GraphedPasses, "run", recorded)
    return replayed


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("bert", ["method=gelora"]),
        ("bert", ["method=gelora", "precision=bf16"]),
        ("bert", ["method=bitfit"]),
        ("bert", ["method=gelora", "method.variant=dora"]),
        ("roberta", ["method=lora"]),
        ("electra", ["method=full"]),
        ("deberta-v2", ["method=gelora"]),
        ("llama", ["method=lora"]),
        ("qwen2", ["method=lora"]),
    ],
)
def test_graphs_of_a_fast_training_give_its_losses_and_resume_bitwise(
    tmp_path: Path,
    glue_dir: Path,
    tiny_models: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    words: list[str],
) -> None:
    replayed = recorded_replays(monkeypatch)
    names = ("plain", "fast", "whole", "killed")
    plain, fast, whole, killed = (Bench(tmp_path / name, glue_dir, tiny_models) for name in names)
    words = [*words, *(["budget=2500"] if words[0] not in ("method=full", "method=bitfit") else [])]
    short = [word for word in SHORT if not word.startswith("budget")]
    losses = []
    for bench, setting in ((plain, "false"), (fast, "true")):
        assert bench.run(*short, *words, "model.dropout=0", f"train.fast={setting}", model=kind) == 0
        losses.append(losses_of(bench.only()))
    assert losses[1] == pytest.approx(losses[0], rel=0.03 if "precision=bf16" in words else 2e-4)
    # 90 rows in batches of 16: one batch of each epoch is smaller, and takes no graph.
    assert sorted(replayed) == [False] * 2 + [True] * 10, (fast.only() / "log.txt").read_text()[-900:]
    words = [*short, *words, "train.fast=true"]  # with dropout, whose draws of a graph the checkpoint holds, too
    assert whole.run(*words, model=kind) == 0
    stop_at(monkeypatch, killed, STOPPED_AT + 2, *words, model=kind)
    assert killed.run(*words, model=kind) == 0
    expected, resumed = saved_adapter(whole), saved_adapter(killed)
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
