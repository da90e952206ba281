"""A user's own allocator and methods, from a folder outside the package, through whole runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.status import find_runs
from tests.helpers.bench import Bench, predictions, result_of

ENTRIES = '''
from dataclasses import dataclass

from gelora_cli.allocation.base import Allocator
from gelora_cli.allocation.planning import exempt_plan
from gelora_cli.allocation.problem import Weights
from gelora_cli.config.keys import key
from gelora_cli.config.schema import LowRankConfig
from gelora_cli.core.registries import ALLOCATORS, METHODS
from gelora_cli.methods.base import Method
from gelora_cli.methods.lora import PlannedLora


@ALLOCATORS.register
class LastBlock(Allocator):
    """Rank 1 everywhere, and all other units of GeLoRA's in the last block."""

    name = "last_block"
    signal = ""

    def weigh(self, signal, problem):
        return Weights.proportional([0] * (len(problem.targets) - 1) + [1])


@dataclass
class ToySettings(LowRankConfig):
    strength: float = key(2.0, help="how much of the update counts", above=0, high=10)


@METHODS.register
class Toy(PlannedLora):
    name = "toy"
    allocator = "last_block"
    config_class = ToySettings


@METHODS.register
class Norms(Method):
    """The norms train, in gelora's own format."""

    name = "toy_norms"
    description = "The norms of a fine-tuned model"
    exempt = True

    def plan(self, request):
        return exempt_plan(request, request.model_map.norm_params, "all norms")

    def attach(self, context):
        from gelora_cli.methods.updates.subset import attach_subset
        from gelora_cli.models.block_map import norm_names

        return attach_subset(context, norm_names(context.model, context.model_map.head_modules))

    def rebuild(self, model, saved):
        pass
'''


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    (folder / "method").mkdir(parents=True)
    (folder / "entries.py").write_text(ENTRIES)
    (folder / "method" / "toy.yaml").write_text("name: toy\npreset: gelora\n")
    (folder / "method" / "toy_norms.yaml").write_text("name: toy_norms\npreset: full\ndropout: null\n")
    return folder


def gelora(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, which has loaded no plug-in."""
    command = [sys.executable, "-m", "gelora_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_a_method_and_an_allocator_from_a_folder_run_and_are_opened_again(bench: Bench, plugins: Path) -> None:
    given = ["budget=2500", "data.max_train_examples=48", "profile.max_examples=60", f"plugins={plugins}"]
    for words in (["method=toy", "method.strength=3"], ["method=toy_norms"]):
        done = gelora(*bench.arguments(*words, "task=cola", *given))
        assert done.returncode == 0, done.stderr
    planned, normed = (next(bench.root.rglob(f"{method}/*/run.json")).parent for method in ("toy", "toy_norms"))
    ranks = read_artifact(RankPlan, planned / RankPlan.FILE).ranks
    assert ranks[:-1] == (1,) * (len(ranks) - 1)
    assert ranks[-1] > 1
    assert "  strength: 3.0\n" in (planned / run_files.CONFIG).read_text()
    assert len(read_artifact(RunManifest, planned / RunManifest.FILE).fingerprints["plugins"]) == 64
    for directory in (planned, normed):
        assert result_of(directory).reload_check.passed
        written = directory.parent / f"{directory.name}.jsonl"
        done = gelora("predict", str(directory), "split=validation", f"output={written}")
        assert done.returncode == 0, done.stderr
        assert len(written.read_text().splitlines()) == len(predictions(directory))
    other = gelora(*bench.arguments("method=toy", "method.strength=11", "task=cola", *given))
    assert "method.strength=11" in other.stderr
    shown = gelora("run", "--help", "all", f"plugins={plugins}", "method=toy")
    assert "method.strength=2" in shown.stdout
    assert "how much of the update counts (above 0, at most 10)" in " ".join(shown.stdout.split())
    listed = gelora("ls", str(bench.root))
    assert "toy_norms" in listed.stdout, listed.stderr

    (plugins / "entries.py").write_text(ENTRIES + "\n# changed\n")
    done = gelora("evaluate", str(planned))
    assert done.returncode != 0
    assert "are not those that" in done.stderr
    (plugins / "entries.py").unlink()
    assert "no Python file" in gelora(*bench.arguments("method=toy", "task=cola", *given)).stderr


def test_an_entry_that_lacks_a_part_is_one_message_before_any_work(bench: Bench, plugins: Path) -> None:
    (plugins / "entries.py").write_text(ENTRIES.replace('    allocator = "last_block"\n', "    pass\n"))
    done = gelora(*bench.arguments("method=toy", "task=cola", f"plugins={plugins}"))
    assert done.returncode == 2
    assert "entries.py: class Toy is an incomplete method: it lacks allocator" in done.stderr
    (plugins / "entries.py").write_text(ENTRIES.replace('allocator = "last_block"', 'allocator = "lst_block"'))
    done = gelora(*bench.arguments("method=toy", "task=cola", f"plugins={plugins}"))
    assert "its allocator lst_block is not known" in done.stderr
    assert not bench.root.exists() or not find_runs(bench.root)
