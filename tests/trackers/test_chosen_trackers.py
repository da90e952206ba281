"""Trackers and launchers of plug-ins: they bring keys of their own, which change no number of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
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
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import LAUNCHERS, METHODS, TRACKERS
from gelora_cli.launchers.base import Launcher
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.trackers.base import Tracker, TrackerKind
from gelora_cli.trackers.mlflow import without_user
from tests.helpers.composed import composed
from tests.helpers.registries import forget_entries_afterwards

WORDS = ("task=cola", "model=minilm", "method=lora", "budget=0.1M")


@dataclass
class TextKeys(TrackerConfig):
    """The keys of a tracker that only these tests have."""

    file: str = key("lines.txt", help="the file in the run directory", directory=True)
    every: int = key(1, help="one of how many lines is written", low=1)


class TextLines(Tracker):
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
    ("words", "good"),
    [
        (["tracker=toy_text"], ["trackers=[toy_text]"]),
        (["tracker=[toy_text,wandb]"], ["trackers=[toy_text,wandb]"]),
        (["tracker=none"], ["trackers=[]"]),
        (["tracker="], ["trackers=[]"]),
        (["tracker=toy_text", "tracker.toy_text.every=2"], ["trackers=[toy_text]", "tracker.toy_text.every=2"]),
    ],
)
def test_the_list_of_trackers_has_a_short_name(words: list[str], good: list[str]) -> None:
    assert override_problems("run", words, None, multirun=False) == ([], good)
    assert override_problems("run", words, None) == ([], good)


def test_a_tracker_without_its_library_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ModuleSpec("wandb", None)  # what a directory ./wandb/ looks like, where wandb writes its files
    monkeypatch.setattr("gelora_cli.config.schema.find_spec", {"wandb": folder, "trackio": None}.get)
    problems = value_problems(composed(*WORDS, "trackers=[wandb,trackio]"))
    assert len(problems) == 2
    for name, problem in zip(("wandb", "trackio"), problems, strict=True):
        assert f"tracker={name} needs the package {name}: pip install" in problem
        assert f"[{name}]" in problem


def test_an_address_with_a_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gelora_cli.config.schema.find_spec", lambda _: ModuleSpec("mlflow", None, origin="file"))
    words = (*WORDS, "trackers=[mlflow]")
    assert value_problems(composed(*words, "tracker.mlflow.tracking_uri=https://host:5000")) == []
    (problem,) = value_problems(composed(*words, "tracker.mlflow.tracking_uri='https://me:hush@host'"))
    assert "MLFLOW_TRACKING_PASSWORD" in problem
    assert "hush" not in problem


@pytest.mark.parametrize(
    ("address", "shown"),
    [("https://me:hush@host:5000/a", "https://host:5000/a"), ("sqlite:////data/m@l.db", "sqlite:////data/m@l.db")],
)
def test_where_mlflow_writes_is_said_without_a_password(address: str, shown: str) -> None:
    assert without_user(address) == shown


def test_paths_of_trackers_do_not_depend_on_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gelora_cli.config.schema.find_spec", lambda _: ModuleSpec("trackio", None, origin="file"))
    config: Any = complete(composed(*WORDS, "trackers=[trackio]", "tracker.trackio.directory=here"))
    assert config.tracker["trackio"].directory == str(Path("here").absolute())


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
