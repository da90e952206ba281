"""A tracker is given each line and picture once, whatever happens to the run and to the tracker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.config.schema import TrackerConfig
from gelora_cli.core import run_files
from gelora_cli.core.done import clear_run
from gelora_cli.trackers.base import TrackedRun, Tracker, TrackerKind, metric_values
from gelora_cli.trackers.following import Follower
from tests.helpers.composed import composed


class Notes(Tracker):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def start(self, run: TrackedRun) -> str:
        self.told.append(run)
        return "in the notes"

    def log(self, values: Mapping[str, Any]) -> None:
        self.told.append((values["step"], values.get("split", "loss")))

    def picture(self, path: Path) -> None:
        self.told.append(path.name)

    def end(self, state: str, result: Mapping[str, float]) -> None:
        self.told.append(state)

    def close(self) -> None:
        self.told.append("closed")


class Noting(TrackerKind[TrackerConfig]):
    name = "toy_notes"

    def __init__(self, tracker: Any = None) -> None:
        self.tracker = Notes() if tracker is None else tracker

    def open(self, directory: Path, settings: TrackerConfig) -> Any:
        return self.tracker


def following(directory: Path, tracker: Any = None) -> tuple[Follower, list[Any], list[tuple[str, str]]]:
    """Start a follower; it, what its tracker is told, and what it reports."""
    kind, reports = Noting(tracker), []
    config = composed("task=cola", "model=minilm", "method=lora", "budget=0.1M")
    config = replace(config, tracker={kind.name: TrackerConfig(name=kind.name)})
    follower = Follower(directory, kind, config, lambda *report: reports.append(report))
    follower.start()
    return follower, getattr(kind.tracker, "told", []), reports


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "cola" / "minilm" / "lora" / "b0.1M-s0-12345678"
    path.mkdir(parents=True)
    return path


def write(directory: Path, *lines: dict[str, Any], end: str = "\n") -> None:
    with (directory / run_files.METRICS).open("a") as file:
        file.write("\n".join(map(json.dumps, lines)) + end)


def test_lines_and_pictures_are_given_once(directory: Path) -> None:
    (directory / "ranks.png").write_bytes(b"first")
    follower, told, reports = following(directory)
    run, *pictures = told
    assert pictures == ["ranks.png"]
    assert (run.name, run.group, run.resumed) == ("cola/minilm/lora/b0.1M-s0-12345678", "cola/minilm", False)
    assert run.parameters["method.name"] == "lora"
    assert run.parameters["run_directory"] == str(directory)
    assert not any(name.startswith("tracker") for name in run.parameters)
    assert reports == [("info", "tracker toy_notes: in the notes")]
    write(directory, {"step": 2, "loss": 1.0})
    write(directory, {"step": 4, "loss": 0.5}, end="")  # a line that is being written
    follower.update()
    follower.update()
    assert told[2:] == [(2, "loss")]
    (directory / "ranks.png").write_bytes(b"second")
    write(directory, end="\n")
    follower.end("done")
    assert told[3:] == [(4, "loss"), "ranks.png", "done", "closed"]


def test_no_step_is_given_twice_after_a_resume(directory: Path) -> None:
    (directory / "ranks.png").write_bytes(b"picture")
    write(directory, {"step": 2, "loss": 1.0}, {"step": 4, "loss": 0.5}, {"step": 4, "split": "dev", "accuracy": 1.0})
    follower, told, _ = following(directory)
    follower.end("stopped")
    first = told[0]
    # It goes on from the checkpoint at step 2, and writes a line at every step now.
    (directory / run_files.METRICS).write_text("")
    write(directory, *({"step": step, "loss": 1.0} for step in (2, 3, 4, 5)))
    write(directory, *({"step": step, "split": "dev", "accuracy": 1.0} for step in (4, 5)))
    follower, told, _ = following(directory)
    follower.end("done")
    assert (told[0].id, told[0].resumed) == (first.id, True)
    assert told[1:] == [(5, "loss"), (5, "dev"), "done", "closed"]


def test_it_is_the_same_run_from_scratch_and_another_one_with_force(directory: Path) -> None:
    first = following(directory)[1][0]
    (directory / "events.out.tfevents.1").touch()
    clear_run(directory)
    assert (directory / "events.out.tfevents.1").exists()
    assert following(directory)[1][0].id == first.id
    clear_run(directory, trackers=True)
    assert list(directory.iterdir()) == []
    other = following(directory)[1][0]
    assert (other.id == first.id, other.resumed) == (False, False)


def test_a_tracker_that_fails_is_a_warning(directory: Path) -> None:
    class Full(Notes):
        def log(self, values: Mapping[str, Any]) -> None:
            super().log(values)
            raise ConnectionError("the server left")

        def close(self) -> None:
            raise ValueError("not opened")

    follower, told, reports = following(directory, Full())
    for step in (1, 2, 3):
        write(directory, {"step": step, "loss": 1.0})
        follower.update()
    follower.end("done")
    assert told[1:] == [(1, "loss")]
    assert reports[1:] == [
        (
            "warning",
            "tracker toy_notes gets no further lines: ConnectionError: the server left. metrics.jsonl has every line",
        ),
        (
            "warning",
            "tracker toy_notes may lack its last lines: ValueError: not opened. metrics.jsonl has every line",
        ),
    ]


def test_what_is_no_tracker_is_a_warning(directory: Path) -> None:
    class Deaf:
        def close(self) -> None: ...

    follower, _, reports = following(directory, Deaf())
    write(directory, {"step": 1, "loss": 1.0})
    follower.end("done")
    ((level, text),) = reports
    assert level == "warning"
    assert "tracker toy_notes is left out: open() returned" in text
    assert "which has no log(); add it" in text


def test_a_tracker_needs_log_and_close_alone(directory: Path) -> None:
    class Two:
        def __init__(self) -> None:
            self.told: list[Any] = []

        def log(self, values: Mapping[str, Any]) -> None:
            self.told.append(values["step"])

        def close(self) -> None:
            self.told.append("closed")

    (directory / "ranks.png").touch()
    write(directory, {"step": 1, "loss": 1.0})
    follower, told, reports = following(directory, Two())
    follower.end("done")
    assert told == [1, "closed"]
    assert reports == []


def test_numbers_of_a_line_have_names() -> None:
    loss = {"step": 4, "epoch": 1, "loss": 0.5, "seconds": 1.5, "ranks": [4, 8], "adapter_params": 12}
    assert metric_values(loss) == {
        "train/loss": 0.5,
        "train/seconds": 1.5,
        "train/adapter_params": 12.0,
        "ranks/01": 4.0,
        "ranks/02": 8.0,
    }
    evaluation = {"step": 4, "epoch": 1, "split": "dev", "f1": 0.5, "examples": 3}
    assert metric_values(evaluation) == {"dev/f1": 0.5, "dev/examples": 3.0}
    probe = {"step": 4, "epoch": 1, "track": {"idims": [1.5, None], "note": "x"}, "seconds": 2.0}
    assert metric_values(probe) == {"track/idims/01": 1.5, "track/seconds": 2.0}
