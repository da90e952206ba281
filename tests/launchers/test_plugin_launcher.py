"""A launcher of the user's own, from a folder: it runs each job of a sweep as a command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gelora_cli.config.files import read_config
from gelora_cli.config.schema import LaunchConfig
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.registries import LAUNCHERS
from gelora_cli.core.status import run_status
from tests.helpers.bench import Bench, answer_here, predictions, result_of
from tests.helpers.registries import forget_entries_afterwards

SHELL = '''
import sys
import time
from dataclasses import dataclass

from gelora_cli.config.keys import key
from gelora_cli.config.schema import LaunchConfig
from gelora_cli.core.registries import LAUNCHERS
from gelora_cli.launchers.base import Launcher, announce
from tests.helpers.warm import WARM


@dataclass
class ShellSettings(LaunchConfig):
    output: str = key("", help="the file for the output of the jobs")


@LAUNCHERS.register
class Shell(Launcher):
    """Each job is a command of its own, as a cluster would start it."""

    name = "toy_shell"
    config_class = ShellSettings

    def check(self, jobs):
        return [job.actions.find_problem(job) for job in jobs]

    def run(self, jobs):
        for job in jobs:
            announce(job)
            begun = time.monotonic()
            python, option, module, *words = job.command_line()
            assert (python, option, module) == (sys.executable, "-m", "gelora_cli")
            done = WARM.run_gelora(*words)
            with open(job.launch.output, "a") as output:
                output.write(done.stdout)
            yield job.actions.read_outcome(job, done.returncode, time.monotonic() - begun)
'''


@pytest.mark.distributed
def test_a_sweep_by_a_launcher_from_a_folder(
    bench: Bench, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_entries_afterwards(monkeypatch, LAUNCHERS)
    answer_here(monkeypatch)
    folder = tmp_path / "launchers of mine"
    folder.mkdir()
    (folder / "shell.py").write_text(SHELL)
    words = ["task=cola", "method=lora", "train.max_steps=2", "budget=rank:1,1", f"plugins={folder}"]
    shell = ["launch.launcher=toy_shell", f"launch.output={tmp_path / 'output of jobs'}", "launch.processes=1"]
    assert bench.run("-m", *words, *shell) == 2
    rows = _last_table(capfd.readouterr().out)
    failed, done = bench.directories()
    assert [row[:2] for row in rows] == [["budget=rank:1", "done"], ["budget=1", "failed"]]
    assert float(rows[0][2]) == pytest.approx(result_of(done).value, abs=1e-4)
    assert str(failed) in rows[1][4] and "budget=1 gives" in rows[1][4]
    command = read_artifact(RunManifest, done / RunManifest.FILE).command.split()
    assert "budget=rank:1" in command and "-m" not in command
    assert [word for word in command if word.startswith("launch.")] == ["launch.processes=1"]
    assert read_config(done / "config.yaml").launch == LaunchConfig()
    assert "matthews_correlation" in (tmp_path / "output of jobs").read_text()

    assert bench.run("-m", *words[:3], "budget=rank:1", words[4], *shell) == 0
    assert [row[1] for row in _last_table(capfd.readouterr().out)] == ["already done"]
    before = predictions(done)
    assert bench.run("-m", *words[:3], "budget=rank:1", words[4], "launch.launcher=in_place", "force=true") == 0
    assert [row[1] for row in _last_table(capfd.readouterr().out)] == ["done"]
    assert run_status(done) == "done"
    assert predictions(done) == before


def _last_table(text: str) -> list[list[str]]:
    lines = text.rsplit("\n\n", 1)[1].splitlines()[1:]
    return [re.split("  +", line) for line in lines]
