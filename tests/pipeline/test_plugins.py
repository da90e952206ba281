"""A user's own allocator and methods, from a folder or an installed package, through every command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gelora_cli.config.files import read_config
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.status import find_runs
from tests.helpers.bench import Bench, predictions, result_of
from tests.helpers.metric_lines import without_times
from tests.helpers.packages import install_package
from tests.helpers.waiting import wait_until
from tests.helpers.warm import WARM

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


SMALL = ("task=cola", "budget=2500", "data.max_train_examples=48", "profile.max_examples=60")


def gelora(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, which has loaded no plug-in."""
    return WARM.run_gelora(*arguments)


def succeeds(*arguments: str) -> str:
    """Return the standard output of a command that must succeed."""
    done = gelora(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_of(root: Path, method: str) -> Path:
    return next(root.rglob(f"{method}/*/run.json")).parent


def test_a_method_and_an_allocator_from_a_folder_run_and_are_opened_again(bench: Bench, plugins: Path) -> None:
    given = [*SMALL, f"plugins={plugins}"]
    for words in (["method=toy", "method.strength=3"], ["method=toy_norms"]):
        succeeds(*bench.arguments(*words, *given))
    planned, normed = run_of(bench.root, "toy"), run_of(bench.root, "toy_norms")
    ranks = read_artifact(RankPlan, planned / RankPlan.FILE).ranks
    assert ranks[:-1] == (1,) * (len(ranks) - 1)
    assert ranks[-1] > 1
    assert "  strength: 3.0\n" in (planned / run_files.CONFIG).read_text()
    assert len(read_artifact(RunManifest, planned / RunManifest.FILE).fingerprints["plugins"]) == 64
    for directory in (planned, normed):
        assert result_of(directory).reload_check.passed
        written = directory.parent / f"{directory.name}.jsonl"
        succeeds("predict", str(directory), "split=validation", f"output={written}")
        assert len(written.read_text().splitlines()) == len(predictions(directory))
    other = gelora(*bench.arguments("method=toy", "method.strength=11", *given))
    assert "method.strength=11" in other.stderr
    shown = succeeds("run", "--help", "all", f"plugins={plugins}", "method=toy")
    assert "method.strength=2" in shown
    assert "(above 0, at most 10)" in " ".join(shown.split())
    assert "toy_norms" in succeeds("ls", str(bench.root))

    (plugins / "entries.py").write_text(ENTRIES + "\n# changed\n")
    done = gelora("evaluate", str(planned))
    assert done.returncode != 0
    assert "are not those that" in done.stderr and "was " in done.stderr
    (plugins / "entries.py").unlink()
    assert "no Python file" in gelora(*bench.arguments("method=toy", *given)).stderr
    plugins.rename(plugins.with_name("elsewhere"))
    done = gelora("predict", str(planned), "split=validation")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"plugins={plugins}, which is not there" in done.stderr
    assert "bring that folder back" in done.stderr


def test_an_entry_that_lacks_a_part_is_one_message_before_any_work(bench: Bench, plugins: Path) -> None:
    (plugins / "entries.py").write_text(ENTRIES.replace('    allocator = "last_block"\n', "    pass\n"))
    done = gelora(*bench.arguments("method=toy", "task=cola", f"plugins={plugins}"))
    assert done.returncode == 2
    assert "entries.py: class Toy is an incomplete method: it lacks allocator" in done.stderr
    (plugins / "entries.py").write_text(ENTRIES.replace('allocator = "last_block"', 'allocator = "lst_block"'))
    done = gelora(*bench.arguments("method=toy", "task=cola", f"plugins={plugins}"))
    assert "its allocator lst_block is not known" in done.stderr
    assert not bench.root.exists() or not find_runs(bench.root)


@pytest.mark.slow
@pytest.mark.distributed
def test_a_plugin_in_a_sweep_and_through_the_commands_of_a_finished_run(
    bench: Bench, plugins: Path, tmp_path: Path
) -> None:
    table = succeeds(*bench.arguments("-m", *SMALL, "method=gelora,toy", f"plugins={plugins}"))
    assert len([line for line in table.splitlines() if line.startswith("method=") and " done " in line]) == 2
    directory = run_of(bench.root, "toy")
    value = result_of(directory).value
    (profile,) = (bench.root / ".profiles").iterdir()
    assert "Weights: " in succeeds("ranks", str(profile), "method=toy", "budget=2500", f"plugins={plugins}")
    assert f"{value:.4f}" in succeeds("evaluate", str(directory))
    succeeds("export", str(directory), f"output={tmp_path / 'exported'}")
    assert (tmp_path / "exported" / "config.json").exists()
    plugins.rename(plugins.with_name("elsewhere"))  # tables and pictures of finished runs need no plug-in
    assert " toy " in succeeds("ls", str(bench.root))
    assert "2 methods (gelora, toy)" in succeeds("report", str(bench.root), f"output={tmp_path / 'report'}")


@pytest.mark.slow
@pytest.mark.distributed
def test_a_plugin_on_two_processes_and_an_error_of_one(bench: Bench, plugins: Path) -> None:
    words = bench.arguments(*SMALL, "method=toy_norms", "launch.processes=2", f"plugins={plugins}")
    failing = ENTRIES.replace(
        "        return attach_subset(", "        {}[os.environ['RANK']]\n        return attach_subset("
    )
    (plugins / "entries.py").write_text("import os\n" + failing)
    done = gelora(*words)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "failed: KeyError:" in done.stderr
    log = (run_of(bench.root, "toy_norms") / "log.txt").read_text()
    assert "Traceback" in log and "entries.py" in log
    (plugins / "entries.py").write_text(ENTRIES)
    succeeds(*words)
    finished = [path.parent for path in bench.root.rglob("DONE")]
    assert [result_of(path).reload_check.passed for path in finished] == [True]


@pytest.mark.slow
def test_a_plugin_is_resumed_after_a_kill(bench: Bench, plugins: Path, tmp_path: Path) -> None:
    steps = ["method=toy", "train.epochs=20", "train.checkpoint_steps=2", f"plugins={plugins}"]
    words = bench.arguments(*SMALL, *steps)
    killed = subprocess.Popen([sys.executable, "-m", "gelora_cli", *words], stderr=subprocess.PIPE)
    wait_until(lambda: bool(list(bench.root.rglob("checkpoints/[!.]*"))), "checkpoint", killed)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    directory = run_of(bench.root, "toy")
    assert not (directory / "DONE").exists()
    succeeds(*words)
    assert "resum" in (directory / "log.txt").read_text()
    other = Bench(tmp_path / "other", bench.data, bench.models)
    succeeds(*other.arguments(*SMALL, *steps))
    whole = run_of(other.root, "toy")
    assert whole.name == directory.name
    assert predictions(whole) == predictions(directory)
    assert without_times(whole) == without_times(directory)


@pytest.mark.slow
def test_plugins_of_an_installed_package(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "__init__.py": "from . import entries\n",
        "entries.py": ENTRIES,
        "method/toy.yaml": "name: toy\npreset: gelora\n",
    }
    root = install_package(tmp_path / "site", "gelora_toys", files)
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}{os.pathsep}{before}")
    words = bench.arguments(*SMALL, "method=toy", "plugins=gelora_toys")
    succeeds(*words)
    directory = run_of(bench.root, "toy")
    assert read_config(directory / "config.yaml").plugins == "gelora_toys"
    assert "validation" in succeeds("evaluate", str(directory))
    (root / "entries.py").write_text(ENTRIES + "# changed\n")
    assert "the plug-ins in gelora_toys are not" in gelora("evaluate", str(directory)).stderr
    monkeypatch.setenv("PYTHONPATH", before)
    done = gelora("evaluate", str(directory))
    assert "plugins=gelora_toys, which is not there" in done.stderr
    assert "install that package again" in done.stderr
