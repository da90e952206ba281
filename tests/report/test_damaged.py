"""One bad run hides no other, in `ls` as in `report`; runs of another arithmetic and of saved plans are told apart."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.config.files import config_of, read_config, write_config
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.done import mark_done
from gelora_cli.core.run_reader import RunFiles
from gelora_cli.core.status import find_runs
from gelora_cli.report.grid import grid_table
from gelora_cli.report.listing import describe_runs
from gelora_cli.report.rows import make_rows
from gelora_cli.report.runs import collect, read_runs, select_runs
from gelora_cli.report.settings import describe_differences
from tests.helpers.models import rewrite_json
from tests.helpers.written_runs import write_run

DEEP = 200_000 * "["
MANIFEST, RESULT, PLAN = RunManifest.FILE, RunResult.FILE, RankPlan.FILE
DATES = ["yesterday", "", "2026-13-45T00:00:00", "0000-00-00", "9" * 5000, "\x1b[2J"]


def write(name: str, content: str | bytes) -> Callable[[Path], object]:
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return lambda run: (run / name).write_bytes(data)


def instead(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / name).unlink()
        make(run / name)

    return damage


def dated(updated: str) -> Callable[[Path], object]:
    def damage(run: Path) -> None:
        write_artifact(replace(read_artifact(RunManifest, run / MANIFEST), updated=updated), run)

    return damage


def valued(name: str, **values: object) -> Callable[[Path], object]:
    return lambda run: rewrite_json(run / name, **values)


DAMAGES: dict[str, Callable[[Path], object]] = {
    **{f"{name} is deep": write(name, DEEP) for name in (MANIFEST, RESULT, PLAN)},
    **{f"{name} has an endless integer": write(name, f'{{"a": {"9" * 6000}}}') for name in (MANIFEST, RESULT)},
    **{f"{name} is empty": write(name, "") for name in (MANIFEST, RESULT, PLAN, run_files.CONFIG)},
    **{f"{name} is not UTF-8": write(name, b"\xff\xfe{}") for name in (MANIFEST, RESULT, PLAN, run_files.CONFIG)},
    **{f"{name} is a directory": instead(name, Path.mkdir) for name in (MANIFEST, RESULT, PLAN, run_files.CONFIG)},
    **{f"{name} is a pipe": instead(name, os.mkfifo) for name in (MANIFEST, RESULT, run_files.CONFIG)},
    **{f"{name} leads nowhere": instead(name, lambda path: path.symlink_to("no")) for name in (MANIFEST, RESULT)},
    **{f"{name} is a list": write(name, "[1, 2]") for name in (MANIFEST, RESULT, run_files.CONFIG)},
    **{f"{name} is a number": write(name, "7") for name in (MANIFEST, PLAN, run_files.CONFIG)},
    **{f"date {number}": dated(date) for number, date in enumerate(DATES)},
    "config.yaml is deep": write(run_files.CONFIG, "seed: " + DEEP),
    "config.yaml is Python": write(run_files.CONFIG, "seed: !!python/object/apply:os.system ['touch hacked']"),
    "config.yaml has a tab": write(run_files.CONFIG, "task:\n\tname: a"),
    "config.yaml has a NUL": write(run_files.CONFIG, "seed: \0"),
    "config.yaml has an unknown budget": write(run_files.CONFIG, "budget: much"),
    "config.yaml has a list of itself": write(run_files.CONFIG, "task: &a [*a]"),
    "no results": valued(RESULT, results=[]),
    "no reported metric": valued(
        RESULT,
        results=[
            {
                **dict.fromkeys(["split", "reported"], "x"),
                "examples": 1,
                "metrics": {},
                "collapsed": False,
                "seconds": 1.0,
            }
        ],
    ),
    "a surrogate for a status": write(MANIFEST, '{"schema": "\\ud800"}'),
    "an infinite value": write(RESULT, '{"schema": "RunResult", "schema_version": 2, "value": 1e999}'),
    "a schema of words": write(MANIFEST, '{"schema": ' + json.dumps("x" * 10_000) + "}"),
}


def damaged(root: Path, name: str) -> Path:
    """Write two finished runs and a damaged one, which is returned."""
    write_run(root, "gelora", 0, 0.5)
    write_run(root, "lora", 0, 0.7)
    bad = write_run(root, "reversed", 0, 0.9)
    DAMAGES[name](bad)
    return bad


@pytest.mark.parametrize("name", DAMAGES)
def test_one_damaged_run_is_listed_and_hides_no_other(name: str, tmp_path: Path) -> None:
    bad = damaged(tmp_path, name)
    for verify in (False, True):
        examined = read_runs([tmp_path], verify=verify)
        listed = describe_runs(tmp_path, examined)
        assert [run.status for run in listed] == ["done", "done", "damaged"]
        assert listed[2].error and len(listed[2].error) < 500
        (unused,) = select_runs(examined).unused
        assert unused.directory == bad
        assert [row.name for row in make_rows(select_runs(examined).runs)] == ["gelora", "lora"]


@pytest.mark.parametrize("name", [f"{MANIFEST} is deep", f"{RESULT} is a pipe", "config.yaml is Python", "date 0"])
def test_ls_and_report_go_on_beside_a_damaged_run(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged(tmp_path / "runs", name)
    assert command_line(["ls", str(tmp_path / "runs")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["done", "done", "damaged"]
    assert "reversed/s0-0.1: " in lines[3]
    assert command_line(["report", str(tmp_path / "runs"), f"output={tmp_path / 'report'}", "figures.draw=false"]) == 0
    assert "not used: damaged" in capsys.readouterr().err
    assert "reversed" in (tmp_path / "report" / "report.html").read_text()
    assert not (tmp_path / "hacked").exists()


def test_an_error_nobody_thought_of_is_one_runs_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, "gelora", 0, 0.5)
    bad = write_run(tmp_path, "lora", 0, 0.7)

    def read(files: RunFiles) -> Any:
        if files.place == bad:
            raise MemoryError("of a kind that no test has")
        return config_of(files)

    monkeypatch.setattr("gelora_cli.report.runs.config_of", read)
    assert command_line(["ls", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "lora/s0-0.1: MemoryError: of a kind" in shown
    assert "0.5000" in shown


def test_a_report_names_a_directory_that_is_not_utf8(tmp_path: Path) -> None:
    runs, output = tmp_path / "runs", tmp_path / "report"
    write_run(runs, "lora", 0, 0.5)
    odd = runs / os.fsdecode(b"\xff")
    odd.mkdir()
    (odd / MANIFEST).write_text("{")
    assert command_line(["report", str(runs), f"output={output}", "figures.draw=false"]) == 0
    assert "\\udcff" in (output / "report.html").read_text(encoding="utf-8")


def test_a_directory_that_can_not_be_looked_into_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, closed = write_run(tmp_path, "gelora", 0, 0.5), write_run(tmp_path, "lora", 0, 0.7)
    look = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert find_runs(tmp_path) == [good, closed]


def test_checksums_are_compared_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path, "gelora", 0, 0.5)
    (run / run_files.PREDICTIONS).write_text("changed")
    assert command_line(["ls", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("done ")
    assert command_line(["ls", str(tmp_path), "verify=true"]) == 0
    assert "predictions.jsonl is damaged or was changed" in capsys.readouterr().out
    assert not collect([tmp_path]).runs
    for module in ("core.done", "pipeline.lineage"):
        monkeypatch.setattr(f"gelora_cli.{module}.file_sha256", None)  # whoever calls it fails
    assert command_line(["ls", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("done ")


def test_ages_of_other_zones_and_clocks_are_no_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, date in enumerate(("2026-01-01T00:00:00", "2026-01-01T00:00:00+05:30", "9999-12-31T23:59:59+00:00")):
        dated(date)(write_run(tmp_path, "gelora", seed, 0.5))
    assert command_line(["ls", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["status"] for row in found] == ["done"] * 3
    assert found[2]["age_seconds"] == 0  # of a clock that is ahead


def planned(directory: Path) -> None:
    """Make it a run that took a saved plan."""
    config = read_config(directory / run_files.CONFIG)
    write_config(replace(config, ranks=replace(config.ranks, path="plan")), directory / run_files.CONFIG)
    manifest = read_artifact(RunManifest, directory / MANIFEST)
    write_artifact(replace(manifest, fingerprints={"plan": "a" * 64}), directory)
    mark_done(directory)


def test_a_key_that_a_run_lacks_is_no_difference(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path, "gelora", seed, 0.5)
    planned(write_run(tmp_path / "planned", "gelora", 0, 0.6))
    assert [row.name for row in make_rows(collect([tmp_path]).runs)] == ["gelora", "gelora (ranks.plan=aaaaaaaa)"]
    write_run(tmp_path / "faster", "gelora", 0, 0.6, rate=0.2)
    names = [row.name for row in make_rows(collect([tmp_path]).runs)]
    assert sorted(names) == [
        "gelora (ranks.plan=aaaaaaaa, train.learning_rate=0.1)",
        "gelora (train.learning_rate=0.1)",
        "gelora (train.learning_rate=0.2)",
    ]


def test_a_key_that_was_added_later_is_named_where_it_is_set() -> None:
    plain, later = (("a", "1"),), (("a", "1"), ("b", "2"))
    assert describe_differences(plain, [plain, later]) == ""
    assert describe_differences(later, [plain, later]) == " (b=2)"
    dora = (("method.variant", "dora"), *plain)
    assert describe_differences(dora, [dora]) == " (method.variant=dora)"  # also where no other row has this method


def test_a_method_that_is_not_loaded_is_named_as_others_are(tmp_path: Path) -> None:
    directory = write_run(tmp_path, "gelora", 0, 0.5)
    result = read_artifact(RunResult, directory / RunResult.FILE)
    write_artifact(replace(result, method="mine"), directory)
    path = directory / run_files.CONFIG
    path.write_text(path.read_text().replace("name: gelora", "name: mine"))
    mark_done(directory)
    (row,) = make_rows(collect([tmp_path]).runs)
    assert row.runs[0].config.method.name == "mine" and row.name == "mine"


def test_an_older_arithmetic_is_a_row_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, value in ((0, 0.5), (1, 0.7)):
        write_run(tmp_path / "new", "gelora", seed, value)
        old = write_run(tmp_path / "old", "gelora", seed, 0.1)
        manifest = read_artifact(RunManifest, old / MANIFEST)
        write_artifact(replace(manifest, numerics=1), old)
        values = json.loads((old / MANIFEST).read_text())
        values = {key: value for key, value in values.items() if key not in ("numerics", "sha256")}
        (old / MANIFEST).write_text(json.dumps(values))  # as it was before the number was recorded
        mark_done(old)
    found = {row.name: row.mean for row in make_rows(collect([tmp_path]).runs)}
    assert found == {"gelora (numerics=1)": pytest.approx(0.1), "gelora (numerics=2)": pytest.approx(0.6)}
    assert "gelora (numerics=1)" in grid_table([tmp_path / "old"])
    assert command_line(["ls", str(tmp_path)]) == 0
    assert "gelora (numerics=1)" in capsys.readouterr().out
    assert command_line(["report", str(tmp_path), f"output={tmp_path / 'report'}", "figures.draw=false"]) == 0
    shown = (tmp_path / "report" / "table.md").read_text()
    assert "numerics=1" in shown


def test_a_status_that_nothing_writes_is_damage_and_no_cell_fills_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, "gelora", 0, 0.8)
    for seed, values in enumerate([{"status": "finished"}, {"same_as": "x" * 100_000}]):
        valued(MANIFEST, **values)(write_run(tmp_path, "lora", seed, 0.7))
    assert command_line(["ls", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("damaged")
    assert "status='finished'; gelora writes running, done" in lines[2]
    assert max(map(len, lines)) < 1000
