"""Which runs a report reads as one row: their starts, copies, and what can't be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.config.files import read_config, write_config
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.done import mark_done
from gelora_cli.core.errors import GeloraError, OtherVersionError, UnusableError
from gelora_cli.report.listing import describe_runs, format_runs
from gelora_cli.report.rows import make_rows
from gelora_cli.report.runs import UnusedRun, collect, read_runs
from tests.helpers.written_runs import write_run

DIGITS = iter(range(10**6))


def start(root: Path, seed: int, rate: float) -> Path:
    """Write a finished run under a name as runs have."""
    written = write_run(root / "written", "gelora", seed, 0.5, rate=rate)
    target = root / "runs" / "sst2" / "minilm" / "gelora" / f"b1-s{seed}-{next(DIGITS):08x}"
    target.parent.mkdir(parents=True, exist_ok=True)
    reconfigure(written)
    mark_done(written)
    return written.rename(target)


def reconfigure(directory: Path, **changes: Any) -> None:
    """Return the configuration as the result of `write_run` has it, with these changes."""
    config = replace(read_config(directory / run_files.CONFIG), budget="rank:5", **changes)
    config = replace(config, task=replace(config.task, name="demo"), model=replace(config.model, name="minilm"))
    write_config(config, directory / run_files.CONFIG)


def run_from(root: Path, first: Path, seed: int, print_of_start: str) -> Path:
    """Write a finished run that starts from `first`, on weights of that fingerprint."""
    directory = write_run(root, "gelora", seed, 0.6)
    reconfigure(directory, init_from=str(first))
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    write_artifact(replace(manifest, fingerprints={"model": print_of_start}), directory)
    result = read_artifact(RunResult, directory / RunResult.FILE)
    write_artifact(replace(result, model="minilm+demo"), directory)
    mark_done(directory)
    return directory


def test_starts_of_other_settings_are_other_rows(tmp_path: Path) -> None:
    for name, rate in (("a", 0.1), ("b", 0.2)):
        run_from(tmp_path / "later" / name, start(tmp_path, 0, rate), 0, name)
    found = collect([tmp_path / "later"])
    assert not found.unused
    names = [row.name for row in make_rows(found.runs)]
    assert names == [f"gelora (init_from.train.learning_rate={rate})" for rate in (0.1, 0.2)]


def test_a_chain_over_seeds_is_one_row(tmp_path: Path) -> None:
    for seed in (0, 1):
        run_from(tmp_path / "later", start(tmp_path, seed, 0.1), seed, f"start {seed}")
    (row,) = make_rows(collect([tmp_path / "later"]).runs)
    assert (row.name, len(row.runs)) == ("gelora", 2)


def test_one_seed_from_two_seeds_is_two_rows_and_no_copy(tmp_path: Path) -> None:
    first, second = start(tmp_path, 0, 0.1), start(tmp_path, 1, 0.1)
    run_from(tmp_path / "later" / "a", first, 0, "aaaaaaaa")
    run_from(tmp_path / "later" / "b", second, 0, "bbbbbbbb")
    copy = run_from(tmp_path / "later" / "c", first, 0, "aaaaaaaa")
    found = collect([tmp_path / "later"])
    assert [row.name for row in make_rows(found.runs)] == ["gelora (weights=aaaaaaaa)", "gelora (weights=bbbbbbbb)"]
    assert [(run.status, run.directory) for run in found.unused] == [("copy", copy)]


def test_a_start_that_is_gone_counts_by_its_hash(tmp_path: Path) -> None:
    for name in ("a", "b"):
        gone = tmp_path / "runs" / "sst2" / "minilm" / "gelora" / f"b1-s0-{name * 8}"
        run_from(tmp_path / "later" / name, gone, 0, name)
    assert len(make_rows(collect([tmp_path / "later"]).runs)) == 2


def test_an_unfinished_run_from_another_is_marked_in_its_row(tmp_path: Path) -> None:
    first = start(tmp_path, 0, 0.1)
    run_from(tmp_path / "later", first, 0, "start")
    failed = run_from(tmp_path / "later", first, 1, "start")
    (failed / run_files.DONE).unlink()
    manifest = read_artifact(RunManifest, failed / RunManifest.FILE)
    write_artifact(replace(manifest, status="failed"), failed)
    found = collect([tmp_path / "later"])
    (row,) = make_rows(found.runs, found.unused)
    assert row.notes == "one seed, 1 failed"


@pytest.mark.parametrize("name", [RunManifest.FILE, RunResult.FILE])
def test_a_run_of_another_version_is_not_called_damaged(tmp_path: Path, name: str) -> None:
    directory = write_run(tmp_path, "gelora", 0, 0.5)
    path = directory / name
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(
        "".join(line for line in lines if '"schema_version"' not in line).replace("{", '{"schema_version": 1,', 1)
    )
    mark_done(directory)
    with pytest.raises(OtherVersionError):
        read_artifact(RunManifest if name == RunManifest.FILE else RunResult, path)
    (unused,) = collect([tmp_path]).unused
    (listed,) = describe_runs(tmp_path, read_runs([tmp_path], verify=False))
    assert unused.status == listed.status == "of another version"
    assert "and this gelora reads version 2" in format_runs(tmp_path, [listed])


def test_another_type_is_no_other_version(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(UnusableError) as caught:
        read_artifact(RunManifest, tmp_path / "x.json")
    assert not isinstance(caught.value, OtherVersionError) and isinstance(caught.value, GeloraError)


def test_a_run_without_a_number_gives_its_error_without_the_warnings_below_it() -> None:
    run = UnusedRun(Path("runs/a"), "failed", "too small\nwarning: few texts", key=None)
    assert str(run) == "failed runs/a: too small"
