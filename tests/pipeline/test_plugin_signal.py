"""A user's own signal with its allocator and method, from a folder outside the package, through whole runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.codec import read_artifact
from tests.helpers.bench import Bench, result_of
from tests.helpers.warm import WARM

ENTRIES = '''
"""Ranks in proportion to the size of each block's weights."""

import time
from dataclasses import dataclass
from typing import ClassVar

from gelora_cli.allocation.base import Allocator
from gelora_cli.allocation.problem import Weights
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.registries import ALLOCATORS, METHODS, SIGNALS
from gelora_cli.methods.lora import PlannedLora
from gelora_cli.signals.base import Signal


@dataclass(frozen=True)
class BlockNorms:
    """The Frobenius norm of each block's linears together."""

    norms: tuple[float, ...]
    model_map: ModelMap
    seconds: float

    FILE: ClassVar[str] = "signal-norms.json"


@SIGNALS.register
class Norms(Signal):
    name = "norms"
    description = "the Frobenius norm of every block"
    artifact = BlockNorms
    settings = ()
    contents = ("model",)

    def measure(self, context):
        norms = []
        for block in context.model_map.blocks:
            weights = [context.model.get_submodule(linear.name).weight for linear in block.linears]
            norms.append(sum(float(weight.detach().square().sum()) for weight in weights) ** 0.5)
        return BlockNorms(tuple(norms), context.model_map, round(context.store.seconds, 3))


@ALLOCATORS.register
class ByNorm(Allocator):
    """What a norm has above the smallest one counts, so that the ranks differ."""

    name = "by_norm"
    signal = "norms"

    def weigh(self, signal, problem):
        return Weights.proportional([norm - min(signal.norms) for norm in signal.norms])


@METHODS.register
class NormLora(PlannedLora):
    name = "norm_lora"
    allocator = "by_norm"
'''


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    (folder / "method").mkdir(parents=True)
    (folder / "entries.py").write_text(ENTRIES)
    (folder / "method" / "norm_lora.yaml").write_text("name: norm_lora\npreset: gelora\n")
    return folder


def gelora(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, which has loaded no plug-in."""
    return WARM.run_gelora(*arguments)


def test_a_signal_from_a_folder_is_measured_once_shared_and_planned_from(bench: Bench, plugins: Path) -> None:
    common = ["task=cola", "method=norm_lora", "budget=2500", "data.max_train_examples=48", f"plugins={plugins}"]
    dry = gelora(*bench.arguments(*common, "dry_run=true"))
    assert dry.returncode == 0, dry.stderr
    assert "unknown before" in dry.stdout

    for seed, command in ((0, "run"), (1, "train")):  # train measures nothing itself
        done = gelora(*bench.arguments(*common, f"seed={seed}", command=command))
        assert done.returncode == 0, done.stderr
    first, second = bench.directories()
    assert (result_of(first).profile_reused, result_of(second).profile_reused) == (False, True)
    (shared,) = bench.root.rglob(".profiles/*/signal-norms.json")
    norms = json.loads(shared.read_text())["norms"]
    for directory in (first, second):
        assert (directory / "signal-norms.json").read_bytes() == shared.read_bytes()
        assert not (directory / "profile.json").exists()
        plan = read_artifact(RankPlan, directory / RankPlan.FILE)
        by_norm = [rank for _, rank in sorted(zip(norms, plan.ranks, strict=True))]
        assert by_norm == sorted(plan.ranks)
        assert len(set(plan.ranks)) > 1
        assert plan.note.startswith("Weights: ")
        assert plan.adapter_params <= 2500

    for source in (first, shared):  # the directory of a run, or the file itself
        planned = gelora("ranks", str(source), "method=norm_lora", "budget=2500", f"plugins={plugins}")
        assert planned.returncode == 0, planned.stderr
        ranks = [line.split()[2] for line in planned.stdout.splitlines()[1 : 1 + len(norms)]]
        assert ranks == list(map(str, plan.ranks))
    changed = ENTRIES + "\n# changed: another content of the folder shares nothing with the one before\n"
    (plugins / "entries.py").write_text(changed)
    refused = gelora(*bench.arguments(*common, "seed=2", command="train"))
    assert refused.returncode == 2
    assert "no saved signal norms in" in refused.stderr


def test_a_signal_that_lacks_a_part_is_one_message_before_any_work(bench: Bench, plugins: Path) -> None:
    (plugins / "entries.py").write_text(ENTRIES.replace("    settings = ()\n", ""))
    done = gelora(*bench.arguments("method=norm_lora", "task=cola", f"plugins={plugins}"))
    assert done.returncode == 2
    assert "incomplete signal: it lacks settings" in done.stderr
