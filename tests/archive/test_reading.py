"""Archives read as directories of runs are: equal reports and listings, and what is refused of damaged ones."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.archive.frames import compress, read_bytes, read_lines
from gelora_cli.archive.reading import find_done, open_run, open_runs, read_archive
from gelora_cli.archive.records import text_sha256
from gelora_cli.archive.writing import pack
from gelora_cli.commands.main import command_line
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.run_reader import RunDirectory, artifact_of
from gelora_cli.report.build import write_report
from gelora_cli.report.runs import Run, UnusedRun, collect, read_runs
from gelora_cli.trackers.json_lines import metric_lines_of
from tests.helpers.report_runs import write_whole

Values = dict[str, Any]
RUNS = "runs/mnli/minilm"
"""The first names of a run's path; its method and its own name follow."""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with six finished runs in `runs`, and their archive beside it."""
    root = tmp_path_factory.mktemp("packed")
    for seed in (0, 1, 2):
        write_whole(root / RUNS, "lora", seed, 30 + seed)
        write_whole(root / RUNS, "gelora", seed, 33 + seed)
    pack([root / "runs"], root / "all.zst", mix_commits=True)
    return root


def listing(path: Path, capsys: pytest.CaptureFixture[str]) -> list[Values]:
    assert command_line(["ls", str(path), "--json"]) == 0
    rows: list[Values] = json.loads(capsys.readouterr().out)
    return [row | {"age_seconds": 0} for row in rows]


def changed(archive: Path, target: Path, change: Callable[[Values], Iterable[Values]]) -> Path:
    """Write an archive whose lines are what `change` gives for each line."""
    lines = [json.loads(line) for line in read_lines(archive, read_bytes(archive))]
    target.write_bytes(compress(json.dumps(new) for line in lines for new in change(line)))
    return target


def test_an_archive_is_listed_and_reported_as_its_directories(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert listing(packed / "all.zst", capsys) == listing(packed / "runs", capsys)
    below = listing(packed / "all.zst/mnli/minilm/lora", capsys)
    assert [row["value"] for row in below] == [0.75, 0.775, 0.8]
    for name in ("runs", "all.zst"):
        write_report([packed / name], packed / f"report-{name}", figures=None)
    for file in ("table.md", "table.csv", "table.tex"):
        texts = [(packed / f"report-{name}" / file).read_text() for name in ("runs", "all.zst")]
        assert texts[0] == texts[1]
        assert "0.8" in texts[0]


def test_a_run_in_directory_and_archive_counts_once(packed: Path) -> None:
    found = collect([packed / "runs/mnli/minilm/lora", packed / "all.zst"])
    assert len(found.runs) == 6
    assert [run.status for run in found.unused] == ["copy"] * 3
    assert len(open_runs([packed / "all.zst", packed / "all.zst/mnli"])) == 6


def test_an_archive_that_was_written_again_is_read_again(packed: Path, tmp_path: Path) -> None:
    archive = tmp_path / "some.zst"
    pack([packed / RUNS / "lora"], archive, mix_commits=True)
    assert len(read_archive(archive).runs) == 3
    assert read_archive(archive) is read_archive(archive)
    pack([packed / RUNS / "gelora"], archive, mix_commits=True)
    assert len(read_archive(archive).runs) == 6


def test_a_packed_run_has_no_adapter_and_says_so(packed: Path) -> None:
    run = open_run(packed / "all.zst" / "mnli/minilm/lora/s0-0.1")
    run.verify()
    assert run.has("profile.json") and not run.has("log.txt")
    with pytest.raises(GeloraError, match=r"all\.zst/mnli/.*/log\.txt can't be read as a log: archives don't hold"):
        run.text("log.txt", "a log")
    with pytest.raises(GeloraError, match=r"holds no run mnli/minilm/lora/s7-0\.1; gelora ls"):
        open_run(packed / "all.zst/mnli/minilm/lora/s7-0.1")


def test_a_chain_of_runs_is_followed_within_the_archive(packed: Path) -> None:
    run = open_run(packed / "all.zst/mnli/minilm/lora/s0-0.1")
    start = run.start("/elsewhere/mnli/minilm/lora/s1-0.1")
    assert artifact_of(RunResult, start).seed == 1 and start.place.is_relative_to(packed / "all.zst")
    assert run.start("/elsewhere/other") == RunDirectory(Path("/elsewhere/other"))


def better_result(line: Values) -> None:
    line["result"]["value"] = 1.0


def without_rows(line: Values) -> None:
    line["predictions"][0]["rows"] = "0" * 64


def without_signal(line: Values) -> None:
    line["signals"]["profile.json"] = "0" * 64


def without_adapter(line: Values) -> None:
    line["done"] = {name: digits for name, digits in line["done"].items() if "adapter" not in name}


def unfinished(line: Values) -> None:
    line["manifest"]["status"] = "running"
    del line["manifest"]["sha256"]


def other_settings(line: Values) -> None:
    line["config"] = line["config"].replace("seed: 0", "seed: 9")


DAMAGES = [
    (better_result, "result.json is damaged or was edited|result.json was changed"),
    (without_rows, "the rows of its split validation_matched are missing"),
    (without_signal, "is damaged"),
    (without_adapter, "it does not list every file of a finished run"),
    (unfinished, "says status=running, and only finished runs are packed"),
    (other_settings, "config.yaml was changed since the run ended"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_damaged_run_hides_no_other(
    packed: Path, tmp_path: Path, damage: Callable[[Values], None], reason: str
) -> None:
    def change(line: Values) -> list[Values]:
        if line.get("path") == "mnli/minilm/lora/s0-0.1":
            damage(line)
        return [line]

    archive = changed(packed / "all.zst", tmp_path / "bad.zst", change)
    examined = read_runs([archive], verify=True)
    assert sum(isinstance(run, Run) for run in examined) == 5
    (unused,) = [run for run in examined if isinstance(run, UnusedRun)]
    assert unused.status == "damaged"
    assert any(part in unused.reason for part in reason.split("|")), unused.reason


def stored(values: Values) -> str:
    return text_sha256(json.dumps(values, indent=2) + "\n")


def huge_count(line: Values) -> None:
    line["result"]["train"]["examples"] = 10**400
    del line["result"]["sha256"]
    line["done"]["result.json"] = stored(line["result"])


def test_a_number_that_no_float_holds_hides_no_other_run(packed: Path, tmp_path: Path) -> None:
    def change(line: Values) -> list[Values]:
        if line.get("path") == "mnli/minilm/lora/s0-0.1":
            huge_count(line)
        return [line]

    found = collect([changed(packed / "all.zst", tmp_path / "huge.zst", change)])
    assert len(found.runs) == 5
    assert "examples: 1000" in found.unused[0].reason and "at most 30 digits expected" in found.unused[0].reason


@pytest.mark.parametrize(
    ("name", "value"), [("loss", "low"), ("step", 10**400), ("accuracy", None), ("ranks", [[]]), ("loss", math.nan)]
)
def test_metrics_that_no_training_logs_are_refused_by_line(name: str, value: object, tmp_path: Path) -> None:
    lines = [{"step": 1, "loss": 0.5, "ranks": [2, 1]}, {"step": 1, "split": "validation", "accuracy": 0.5}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert metric_lines_of(RunDirectory(tmp_path)) == lines
    bad = [line | {name: value} if name in line else line for line in lines]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in bad))
    with pytest.raises(GeloraError, match=rf"metrics.jsonl is damaged: line [12]: {name}.* given, a finite number"):
        metric_lines_of(RunDirectory(tmp_path))


def test_a_run_of_two_lines_is_refused(packed: Path, tmp_path: Path) -> None:
    twice = changed(packed / "all.zst", tmp_path / "twice.zst", lambda line: [line] * (1 + (line["kind"] == "run")))
    with pytest.raises(GeloraError, match=r"line \d+: mnli/minilm/gelora/s0-0.1 a second time; a run has one line"):
        read_archive(twice)


def test_what_is_no_archive_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("no zstd")
    for command in ("ls", "report"):
        assert command_line([command, str(tmp_path / "text")]) == 2
        assert "text is no archive, or damaged" in capsys.readouterr().err
        assert command_line([command, str(tmp_path / "gone")]) == 2
        assert "gone: no such directory; give " in capsys.readouterr().err
    with pytest.raises(GeloraError, match="gone: No such file or directory; give a file that gelora pack wrote"):
        read_archive(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(GeloraError, match="not a regular file"):
        read_archive(tmp_path / "pipe")


def test_a_run_under_another_runs_name_is_not_done(packed: Path, tmp_path: Path) -> None:
    directory = tmp_path / "mnli/minilm/lora/s0-0.1"
    assert find_done(tmp_path / "mnli/minilm/lora/s9-0.1", [str(packed / "all.zst")]) is None
    with pytest.raises(GeloraError, match=r"s0-0.1 is another run: its configuration has the hash [0-9a-f]{8}\."):
        find_done(directory, [str(packed / "all.zst")])
    done = packed / RUNS / "lora/s0-0.1"
    assert find_done(done, [str(packed / "all.zst")]) == RunDirectory(done)
