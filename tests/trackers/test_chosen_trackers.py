"""Trackers and launchers of plug-ins: they bring keys of their own, which change no number of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.commands.hydra_app import register_schemas
from gelora_cli.config.checks import value_problems
from gelora_cli.config.complete import complete
from gelora_cli.config.files import config_text, parse_config
from gelora_cli.config.help import key_lines
from gelora_cli.config.identity import identity_hash
from gelora_cli.config.keys import key
from gelora_cli.config.overrides import override_problems
from gelora_cli.config.schema import LaunchConfig, TrackerConfig
from gelora_cli.core import run_files
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.registries import LAUNCHERS, METHODS, TRACKERS
from gelora_cli.launchers.base import Launcher
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.trackers.base import Tracker, TrackerKind
from gelora_cli.trackers.opening import open_trackers
from tests.helpers.bench import Bench
from tests.helpers.composed import composed
from tests.helpers.registries import forget_entries_afterwards
from tests.helpers.warm import WARM

WORDS = ("task=cola", "model=minilm", "method=lora", "budget=0.1M")


@dataclass
class TextKeys(TrackerConfig):
    """The keys of a tracker that only these tests have."""

    file: str = key("lines.txt", help="the file in the run directory", directory=True)
    every: int = key(1, help="one of how many lines is written", low=1)


class TextLines:
    """Writes one of every few lines."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self.lines: list[str] = []

    def log(self, values: Mapping[str, Any]) -> None:
        self.lines.append(json.dumps(dict(values)))

    def close(self) -> None:
        self.path.write_text("\n".join(self.lines[:: self.every]) + "\n", encoding="utf-8")


class TextTracker(TrackerKind[TextKeys]):
    """Lines in a file that a key names."""

    name = "toy_text"
    config_class = TextKeys

    def open(self, directory: Path, settings: TextKeys) -> Tracker:
        return TextLines(directory / settings.file, settings.every)


@dataclass
class QueueKeys(LaunchConfig):
    """The keys of a launcher that only these tests have."""

    queue: str = key("short", help="the queue", choices=("short", "long"))


class QueueLauncher(Launcher):
    """Runs nothing."""

    name = "toy_queue"
    config_class = QueueKeys

    def run(self, jobs: Sequence[Job]) -> Iterable[Outcome]:
        return []


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (TRACKERS, LAUNCHERS, METHODS):
        forget_entries_afterwards(monkeypatch, registry)
    TRACKERS.register(TextTracker)
    LAUNCHERS.register(QueueLauncher)
    register_schemas()


def test_the_keys_of_a_tracker_are_its_own() -> None:
    config = complete(composed(*WORDS, "trackers=[toy_text]", "tracker.toy_text.every=2"))
    assert config.tracker == {"toy_text": TextKeys(name="toy_text", every=2)}
    assert parse_config(config_text(config)) == config
    assert complete(composed(*WORDS)).tracker == {}


def test_trackers_and_launchers_are_outside_the_identity() -> None:
    plain = identity_hash(complete(composed(*WORDS)), {})
    for more in (
        ("trackers=[toy_text]", "tracker.toy_text.every=3"),
        ("launch.launcher=toy_queue", "launch.queue=long"),
    ):
        assert identity_hash(complete(composed(*WORDS, *more)), {}) == plain


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["trackers=[toy_txt]"], ["trackers=toy_txt", "did you mean toy_text"]),
        (["trackers=[json_lines]"], ["trackers=json_lines: not known"]),
        (["trackers=[toy_text]", "tracker.toy_text.every=0"], ["tracker.toy_text.every=0", "at least 1"]),
        (["tracker.toy_text.every=2"], ["trackers=[] does not name toy_text", "trackers=[toy_text]"]),
        (["launch.launcher=toy_queue", "launch.queue=lng"], ["launch.queue=lng", "did you mean long"]),
        (["launch.queue=long"], ["launch.queue=long", "launch.launcher=local has no such setting", "toy_queue"]),
    ],
)
def test_the_keys_of_trackers_and_launchers_are_checked(words: list[str], facts: list[str]) -> None:
    problems = value_problems(composed(*WORDS, *words))
    assert len(problems) == 1
    for fact in facts:
        assert fact in problems[0]


@pytest.mark.parametrize(
    ("word", "fact"),
    [
        ("tracker.toy_text.evry=2", "did you mean tracker.toy_text.every"),
        ("tracker.toy_text.every=often", "tracker.toy_text.every=often"),
        ("tracker.nowhere.every=2", "unknown key"),
        ("launch.que=long", "unknown key"),
    ],
)
def test_a_wrong_key_of_a_tracker_or_launcher_is_named_before_composing(word: str, fact: str) -> None:
    problems, _ = override_problems("run", ["trackers=[toy_text]", "launch.launcher=toy_queue", word], None)
    assert len(problems) == 1
    assert fact in problems[0]


def test_help_shows_the_keys_of_trackers() -> None:
    text = "\n".join(key_lines("run", everything=True))
    assert "tracker.toy_text.every=1" in text
    assert "tracker.toy_text.name" not in text


def test_trackers_are_closed_when_the_training_fails(tmp_path: Path) -> None:
    chosen = {"toy_text": TrackerConfig.of("toy_text", every=2)}
    with pytest.raises(ZeroDivisionError), open_trackers(tmp_path, chosen) as trackers:
        for step in range(3):
            for tracker in trackers:
                tracker.log({"step": step})
        raise ZeroDivisionError
    assert (tmp_path / "lines.txt").read_text() == '{"step": 0}\n{"step": 2}\n'
    assert len((tmp_path / run_files.METRICS).read_text().splitlines()) == 3
    with open_trackers(tmp_path, chosen, is_main_process=False) as trackers:
        assert list(trackers) == []


def test_a_tracker_that_fails_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(LOGGER, "warning", lambda text, *values: warnings.append(text % values))

    class Full:
        def __init__(self) -> None:
            self.tried = 0

        def log(self, values: dict[str, Any]) -> None:
            self.tried += 1
            values.clear()  # it has its own copy
            raise ConnectionError("the server is gone")

        def close(self) -> None:
            raise ValueError("never opened")

    full = Full()
    monkeypatch.setattr(TextTracker, "open", lambda self, directory, settings: full)
    with open_trackers(tmp_path, {"toy_text": TextKeys(name="toy_text")}) as trackers:
        for values in ({"step": 1}, {"step": 2}):
            for tracker in reversed(trackers):
                tracker.log(values)
    assert full.tried == 1
    assert (tmp_path / run_files.METRICS).read_text() == '{"step": 1}\n{"step": 2}\n'
    assert warnings == [
        "tracker toy_text gets no further lines: ConnectionError: the server is gone. metrics.jsonl has them all",
        "tracker toy_text may lack its last lines: ValueError: never opened. metrics.jsonl has them all",
    ]


def test_what_is_no_tracker_is_refused_before_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TextTracker, "open", lambda self, directory, settings: None)
    with (
        pytest.raises(GeloraError, match=r"tracker toy_text: open\(\) returned None, which has no log"),
        open_trackers(tmp_path, {"toy_text": TextKeys(name="toy_text")}),
    ):
        raise AssertionError("it was opened")


def test_an_entry_that_names_the_class_of_another_section_is_refused() -> None:
    class Confused(TrackerKind[TrackerConfig]):
        name = "toy_confused"
        config_class = QueueKeys  # type: ignore[assignment]

        def open(self, directory: Path, settings: TrackerConfig) -> Tracker:
            raise NotImplementedError

    TRACKERS.register(Confused)
    with pytest.raises(GeloraError, match="QueueKeys is no subclass of TrackerConfig"):
        TrackerConfig.class_of("toy_confused")


@dataclass
class Undeclared(TrackerConfig):
    every: int = 1


class NoDataclass(TrackerConfig):
    every: int = key(1, help="one of how many")


@dataclass
class OddType(TrackerConfig):
    every: complex = key(1, help="one of how many")


@dataclass
class OddDefault(TrackerConfig):
    every: int | None = key("often", help="one of how many")


@dataclass
class Collides(TrackerConfig):
    name: int = key(1, help="one of how many")  # type: ignore[assignment]


@dataclass
class MoreTextKeys(TextKeys):
    file: int = key(1, help="of another type than its parent's")  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (Undeclared, r"Undeclared has no declaration of every: write every: TYPE = key\(DEFAULT, help=\.\.\.\)"),
        (NoDataclass, "NoDataclass declares every but is no dataclass: write @dataclass above it"),
        (OddType, "OddType declares every with the type complex; accepted: str, int"),
        (OddDefault, "OddDefault declares every with the default 'often', which is not of its type"),
        (Collides, "Collides declares name, which TrackerConfig has already, of another type"),
        (MoreTextKeys, "MoreTextKeys declares file, which TextKeys has already, of another type"),
        (dict, "dict is no subclass of TrackerConfig"),
        (3, "3 is no subclass of TrackerConfig"),
    ],
)
def test_keys_that_cannot_be_read_are_refused(keys: Any, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TextTracker, "config_class", keys)
    with pytest.raises(GeloraError, match=f"tracker toy_text: its config_class {problem}"):
        TrackerConfig.class_of("toy_text")


PLUGIN = """
import json
from dataclasses import dataclass

from gelora_cli.config.keys import key
from gelora_cli.config.schema import TrackerConfig
from gelora_cli.core.registries import TRACKERS
from gelora_cli.trackers.base import TrackerKind


@dataclass
class Keys(TrackerConfig):
    file: str = key("lines.txt", help="the file in the run directory", directory=True)


class Lines:
    def __init__(self, path):
        self.file = path.open("w")

    def log(self, values):
        self.file.write(json.dumps(dict(values)) + "\\n")

    def close(self):
        self.file.close()


@TRACKERS.register
class Toy(TrackerKind[Keys]):
    name = "toy"
    config_class = Keys

    def open(self, directory, settings):
        return Lines(directory / settings.file)
"""


def test_a_tracker_from_a_folder_logs_a_run(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "toy.py").write_text(PLUGIN)
    given = ["budget=rank:2", "data.max_train_examples=32", f"plugins={folder}", "trackers=[toy]"]
    words = bench.arguments("method=lora", "task=cola", *given, "tracker.toy.file=mine.txt")
    done = WARM.run_gelora(*words)
    assert done.returncode == 0, done.stderr
    directory = next(bench.root.rglob("run.json")).parent
    lines = (directory / "mine.txt").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        json.loads(line) for line in (directory / run_files.METRICS).read_text().splitlines()
    ]
    assert len(lines) > 1
