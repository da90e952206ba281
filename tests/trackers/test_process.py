"""Trackers have processes of their own: whatever they do there, the training neither waits for them nor changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gelora_cli.config.complete import complete
from gelora_cli.config.files import read_config, write_config
from gelora_cli.config.schema import TrackerConfig
from gelora_cli.core import run_files
from gelora_cli.core.errors import StoppedError
from gelora_cli.core.plugins import load_plugins
from gelora_cli.core.registries import TRACKERS
from gelora_cli.trackers import process
from gelora_cli.trackers.opening import open_trackers
from gelora_cli.trackers.process import LONGEST_LOG, TrackerProcess, finish_all
from tests.helpers.bench import Bench, predictions
from tests.helpers.composed import composed
from tests.helpers.metric_lines import without_times
from tests.helpers.registries import forget_entries_afterwards
from tests.helpers.warm import WARM

PLUGIN = """
import json
import os
import random
import subprocess
import time
from dataclasses import dataclass

from gelora_cli.config.keys import key
from gelora_cli.config.schema import TrackerConfig
from gelora_cli.core.registries import TRACKERS
from gelora_cli.trackers.base import Tracker, TrackerKind


@dataclass
class Keys(TrackerConfig):
    file: str = key("lines.txt", help="the file in the run directory", directory=True)


class Lines(Tracker):
    def __init__(self, path):
        self.file = path.open("a")

    def log(self, values):
        random.seed(0)
        print(json.dumps(dict(values)), file=self.file, flush=True)

    def end(self, state, result):
        print(json.dumps([state, result]), file=self.file)

    def close(self):
        self.file.close()


class Hangs(Tracker):
    def __init__(self, directory):
        self.directory = directory

    def log(self, values):
        child = subprocess.Popen(["sleep", "1000"])
        (self.directory / "child.txt").write_text(str(child.pid))
        print("x" * 2**24)
        time.sleep(1000)


class Dies(Tracker):
    def log(self, values):
        os._exit(3)


@TRACKERS.register
class Toy(TrackerKind[Keys]):
    name = "toy"
    config_class = Keys

    def open(self, directory, settings):
        return Lines(directory / settings.file)


@TRACKERS.register
class ToyHangs(TrackerKind[TrackerConfig]):
    name = "toy_hangs"

    def open(self, directory, settings):
        return Hangs(directory)


@TRACKERS.register
class ToyDies(TrackerKind[TrackerConfig]):
    name = "toy_dies"

    def open(self, directory, settings):
        return Dies()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of plug-ins with a tracker that notes, one that hangs and one that ends its process."""
    forget_entries_afterwards(monkeypatch, TRACKERS)
    path = tmp_path / "mine"
    path.mkdir()
    (path / "toy.py").write_text(PLUGIN)
    return path


def test_trackers_that_hang_or_die_change_no_number(bench: Bench, folder: Path) -> None:
    run = ["method=lora", "task=cola", "budget=rank:2", "data.max_train_examples=32", f"plugins={folder}"]
    assert bench.run(*run) == 0
    adapter = bench.only() / run_files.ADAPTER / run_files.PEFT_WEIGHTS
    plain = adapter.read_bytes(), predictions(bench.only()), without_times(bench.only())
    words = bench.arguments(*run, "tracker=[toy,toy_hangs,toy_dies]", "tracker.toy.file=mine.txt", "force=true")
    done = WARM.run_gelora(*words, "tracker.toy_hangs.wait_seconds=1")
    assert done.returncode == 0, done.stderr
    assert (adapter.read_bytes(), predictions(bench.only()), without_times(bench.only())) == plain
    assert "tracker toy_dies may lack lines: its process ended with exit code 3. metrics.jsonl" in done.stderr
    assert "tracker toy_hangs may lack lines: it had not ended 1 s after the run" in done.stderr
    assert done.stderr.count("may lack") == 2
    log = bench.only() / run_files.TRACKER_LOG.format(name="toy_hangs")
    assert log.stat().st_size <= LONGEST_LOG
    child = Path("/proc") / (bench.only() / "child.txt").read_text()
    assert not child.exists() or "(zombie)" in (child / "status").read_text()  # nobody may collect it here
    *lines, last = map(json.loads, (bench.only() / "mine.txt").read_text().splitlines())
    assert lines == list(map(json.loads, (bench.only() / run_files.METRICS).read_text().splitlines()))
    assert last[0] == "done"
    assert last[1]["final/value"] == last[1]["final/validation/matthews_correlation"]


@pytest.mark.parametrize(("error", "state"), [(ZeroDivisionError, "failed"), (StoppedError, "stopped")])
def test_trackers_are_told_how_a_run_ended(
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    log_lines: list[str],
    error: type[Exception],
    state: str,
) -> None:
    monkeypatch.setattr(process, "STOPPED_SECONDS", 60.0)  # a busy machine may need more than the few that it is
    load_plugins(folder)
    words = ("task=cola", "model=minilm", "method=lora", "budget=0.1M", f"plugins={folder}", "trackers=[toy]")
    write_config(complete(composed(*words)), tmp_path / run_files.CONFIG)
    settings = read_config(tmp_path / run_files.CONFIG).tracker
    with pytest.raises(error), open_trackers(tmp_path, settings) as trackers:
        for tracker in trackers:
            tracker.log({"step": 1})
        raise error
    assert not [line for line in log_lines if "may lack" in line]  # it has ended by itself
    lines = (tmp_path / "lines.txt").read_text().splitlines()
    assert list(map(json.loads, lines)) == [{"step": 1}, [state, {}]]


def test_a_signal_ends_the_wait_for_all_trackers_and_no_finished_run() -> None:
    class Slow(TrackerProcess):
        def __init__(self) -> None:
            self.told: list[str] = []
            self.wait_seconds = 30.0

        def finish(self, state: str) -> None:
            self.told.append(state)

        def wait(self, deadline: float) -> None:
            raise StoppedError("interrupted by SIGTERM")

        def kill(self) -> None:
            self.told.append("killed")

    trackers: list[TrackerProcess] = [Slow(), Slow()]
    finish_all(trackers, "done")
    assert [tracker.told for tracker in trackers if isinstance(tracker, Slow)] == [["done", "killed"]] * 2


def test_other_processes_than_the_main_one_start_no_tracker(tmp_path: Path) -> None:
    with open_trackers(tmp_path, {"toy": TrackerConfig(name="toy")}, is_main_process=False) as trackers:
        assert list(trackers) == []
    assert list(tmp_path.iterdir()) == []
