"""`gelora pack`: what goes into an archive, what is refused, and that nothing in it is ever lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gelora_cli.archive import writing
from gelora_cli.archive.frames import compress, read_records
from gelora_cli.archive.predictions import unpack_predictions
from gelora_cli.archive.records import ArchiveHead, Record, RowsRecord, RunRecord, SignalRecord, StudyRecord, to_line
from gelora_cli.archive.writing import PackedSummary, pack
from gelora_cli.config.files import parse_config
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.study import Study, Trial
from gelora_cli.core.codec import write_artifact
from gelora_cli.core.done import mark_done
from gelora_cli.core.errors import GeloraError
from tests.helpers.packed_runs import COMMIT, write_packable
from tests.helpers.studies import method_study, study
from tests.helpers.waiting import SECONDS, wait_until

TEXTS = ("config.yaml", "run.json", "ranks.json", "result.json", "metrics.jsonl")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write six runs, two of them trials, which no test changes."""
    runs = tmp_path_factory.mktemp("made") / "runs"
    for method in ("lora", "gelora"):
        for seed in range(2):
            write_packable(runs, method, seed)
        write_packable(runs, method, 2, trial=True, commit="f" * 40, numerics=1)
    return runs


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the six runs."""
    shutil.copytree(made, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "results" / "runs.jsonl.zst"


@pytest.fixture(autouse=True)
def folder(archive: Path) -> Iterator[None]:
    archive.parent.mkdir()
    yield
    assert not [path for path in archive.parent.iterdir() if path != archive]  # nothing half written is left


def run(runs: Path, method: str, seed: int) -> Path:
    return runs / "mnli" / "minilm" / method / f"s{seed}-0.1"


def records(archive: Path) -> list[Record]:
    return [record for _, record in read_records(archive)]


def packed_paths(archive: Path) -> list[str]:
    return [record.path for record in records(archive) if isinstance(record, RunRecord)]


def test_every_packed_file_comes_back_byte_for_byte(runs: Path, archive: Path) -> None:
    summary = pack([runs], archive)
    assert (summary.runs, summary.new_runs, summary.refused) == (6, 6, ())
    head, *others = records(archive)
    assert isinstance(head, ArchiveHead)
    assert head.commits == summary.commits == (COMMIT, "f" * 40)
    shared = {record.sha256: record for record in others if isinstance(record, RowsRecord | SignalRecord)}
    assert len(shared) == 3 * 2 + 1  # made runs have another order of rows for each seed; two splits; the profile
    for record in others:
        if not isinstance(record, RunRecord):
            continue
        directory = runs / record.path
        assert {name: (directory / name).read_text() for name in TEXTS} == record.texts()
        profile = shared[record.signals["profile.json"]]
        assert isinstance(profile, SignalRecord)
        assert profile.text() == (directory / "profile.json").read_text()
        task, lines = parse_config(record.config).task, []
        for packed in record.predictions:
            rows = shared[packed.rows]
            assert isinstance(rows, RowsRecord)
            lines += unpack_predictions(task, rows, packed)
        stored = [json.loads(line) for line in (directory / run_files.PREDICTIONS).read_text().splitlines()]
        assert [{**line, "scores": []} for line in lines] == stored
        assert "adapter/adapter_model.safetensors" in record.done
        assert not {"README.md", "ranks.png"} & record.done.keys()


def test_equal_runs_give_equal_bytes_and_are_packed_once(runs: Path, archive: Path, tmp_path: Path) -> None:
    pack([runs], archive)
    first = archive.read_bytes()
    assert pack([runs / "mnli", runs], archive).new_runs == 0
    assert archive.read_bytes() == first
    pack([run(runs, "lora", 1), runs, runs], archive, force=True)
    assert archive.read_bytes() == first
    (tmp_path / "link").symlink_to(runs)
    pack([tmp_path / "link", runs / "mnli"], archive, force=True)
    assert archive.read_bytes() == first


def test_an_archive_keeps_its_frames_when_runs_are_added(runs: Path, archive: Path) -> None:
    pack([runs / "mnli" / "minilm" / "lora"], archive)
    first = archive.read_bytes()
    summary = pack([runs], archive)
    assert (summary.new_runs, summary.runs) == (3, 6)
    assert first[-1000:] in archive.read_bytes()
    lines = [type(record).__name__ for record in records(archive)]
    assert lines.count("SignalRecord") == 1  # the profile is there already
    assert packed_paths(archive) == [
        f"mnli/minilm/{method}/s{seed}-0.1" for method in ("lora", "gelora") for seed in range(3)
    ]


def test_an_archive_of_another_zstd_grows_too(runs: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gelora_cli.archive.frames.LEVEL", 1)
    pack([run(runs, "lora", 0)], archive)
    monkeypatch.undo()
    pack([runs], archive)
    assert len(packed_paths(archive)) == 6


def test_many_runs_come_in_frames(runs: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "RUNS_OF_A_FRAME", 2)
    pack([runs], archive)
    assert archive.read_bytes().count(b"\x28\xb5\x2f\xfd") == 1 + 3
    assert len(packed_paths(archive)) == 6


def test_what_is_not_packed_may_be_missing(runs: Path, archive: Path) -> None:
    # Runs that were copied from another machine come without their adapters.
    for directory in (run(runs, "lora", 0), run(runs, "gelora", 2)):
        shutil.rmtree(directory / run_files.ADAPTER)
        (directory / run_files.LOG).unlink()
        (directory / "ranks.png").write_bytes(b"drawn again")
    assert pack([runs], archive).runs == 6


@pytest.mark.parametrize("name", [*TEXTS, "predictions.jsonl", "profile.json", "DONE"])
def test_a_run_whose_packed_files_were_changed_is_left_out_by_name(name: str, runs: Path, archive: Path) -> None:
    file = run(runs, "lora", 1) / name
    file.write_text(file.read_text().replace("lora", "LoRA").replace('"yes"', '"no"').replace("9", "8"))
    summary = pack([runs], archive)
    assert (summary.runs, len(summary.refused)) == (5, 1)
    assert str(file.parent) in summary.refused[0]


@pytest.mark.parametrize("name", ["metrics.jsonl", "profile.json"])
def test_a_run_with_a_missing_file_is_left_out_by_name(name: str, runs: Path, archive: Path) -> None:
    (run(runs, "lora", 1) / name).unlink()
    assert f"{name} is missing" in pack([runs], archive).refused[0]


def test_a_file_that_could_not_be_written_again_is_refused(runs: Path, archive: Path) -> None:
    directory = run(runs, "lora", 0)
    text = (directory / "metrics.jsonl").read_text()
    (directory / "metrics.jsonl").write_text(text.replace(": ", ":"))
    mark_done(directory)
    assert "metrics.jsonl can't be packed without loss" in pack([runs], archive).refused[0]


def test_unfinished_runs_are_counted_and_left_out(runs: Path, archive: Path) -> None:
    (run(runs, "lora", 0) / run_files.DONE).unlink()
    summary = pack([runs], archive)
    assert (summary.unfinished, summary.runs) == (1, 5)
    with pytest.raises(GeloraError, match=r"nothing to pack at or below .*lora/s0-0\.1: 1 runs are not done\. Give"):
        pack([run(runs, "lora", 0)], archive.with_name("other"))


def test_a_run_that_was_done_again_is_refused_by_name(runs: Path, archive: Path) -> None:
    pack([runs], archive)
    before = archive.read_bytes()
    write_packable(runs / "other", "lora", 0)
    with pytest.raises(GeloraError, match=r"lora/s0-0\.1: a run of this path with other files is in the archive"):
        pack([runs], archive)
    assert archive.read_bytes() == before
    with pytest.raises(GeloraError, match="in another of the places given"):
        pack([runs], archive, force=True)
    assert pack([runs / "other"], archive, force=True).runs == 1


@pytest.mark.parametrize(
    ("commits", "message"),
    [
        ((COMMIT, "f" * 40), f"are not of one commit: {COMMIT} "),
        ((f"{COMMIT}+",), rf"{COMMIT}\+ \(mnli/minilm/lora/s0-0\.1\).*`\+` files were changed"),
        ((None,), r"unknown \(mnli/minilm/lora/s0-0\.1\)"),
    ],
)
def test_runs_that_are_not_of_one_commit_are_mixed_only_where_it_is_said(
    commits: tuple[str | None, ...], message: str, tmp_path: Path, archive: Path
) -> None:
    for seed, commit in enumerate(commits):
        write_packable(tmp_path / "runs", "lora", seed, commit=commit)
    with pytest.raises(GeloraError, match=message):
        pack([tmp_path / "runs"], archive)
    assert not archive.exists()
    summary = pack([tmp_path / "runs"], archive, mix_commits=True)
    assert summary.commits == tuple(commit or "unknown" for commit in commits)


def test_runs_of_two_arithmetics_are_never_mixed_and_trials_come_from_anywhere(runs: Path, archive: Path) -> None:
    assert pack([runs], archive).runs == 6  # its trials are of another commit and arithmetic
    write_packable(runs, "adalora", 0, numerics=1)
    for force in (False, True):
        with pytest.raises(GeloraError, match=r"numerics 1 \(mnli/minilm/adalora/s0-0\.1\), 2 \(mnli"):
            pack([runs], archive, mix_commits=True, force=force)


def grown(tuned: Study, done: int) -> Study:
    """Return a study of whose first method only so many trials are done."""
    first, *others = tuned.methods
    trials = [trial if trial.number <= done else Trial(trial.number, trial.values) for trial in first.trials]
    return replace(tuned, methods=(replace(first, trials=tuple(trials), best=1 if done else None), *others))


def test_a_study_grows_by_a_later_line(runs: Path, archive: Path) -> None:
    tuned, directory = study(method_study("lora")), runs / "tune" / "sst2-minilm-b0.15M-f95ffa1d"
    directory.mkdir(parents=True)
    for done, lines in ((0, 0), (2, 1), (2, 1), (8, 2)):
        write_artifact(grown(tuned, done), directory)
        summary = pack([runs], archive)
        studies = [record for record in records(archive) if isinstance(record, StudyRecord)]
        assert (len(studies), summary.studies) == (lines, min(lines, 1))
    assert {record.path for record in studies} == {"tune/sst2-minilm-b0.15M-f95ffa1d"}
    (directory / Study.FILE).write_text((directory / Study.FILE).read_text().replace("0.1,", "0.2,"))
    assert str(directory) in pack([runs], archive).refused[0]
    assert len(records(archive)) == 1 + 7 + 6 + 2  # head, what runs share, runs, studies


def test_an_older_copy_of_a_study_replaces_no_grown_one(runs: Path, archive: Path, tmp_path: Path) -> None:
    tuned, name = study(method_study("lora")), "tune/sst2-minilm-b0.15M-f95ffa1d"
    first, second = tmp_path / "a" / name, tmp_path / "b" / name
    for directory, done in ((first, 8), (second, 2)):
        directory.mkdir(parents=True)
        write_artifact(grown(tuned, done), directory)

    def packed_line() -> StudyRecord:
        (record,) = [record for record in records(archive) if isinstance(record, StudyRecord)]
        return record

    summary = pack([tmp_path / "a", tmp_path / "b"], archive)  # two of one path
    assert summary.new_studies == 1
    assert packed_line().value == json.loads((first / Study.FILE).read_text())
    before = archive.read_bytes()
    assert pack([tmp_path / "b"], archive).new_studies == 0
    write_artifact(replace(tuned, command="typed again"), first)  # as many trials
    assert pack([tmp_path / "a"], archive).new_studies == 0
    assert archive.read_bytes() == before


def test_a_kill_leaves_the_archive_as_it_was(runs: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack([run(runs, "lora", 0)], archive)
    before = archive.read_bytes()

    def kill(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "fsync", kill)
        pack([runs], archive)
    assert archive.read_bytes() == before
    ended = subprocess.Popen(["true"])
    ended.wait()
    archive.with_name(f".{archive.name}.{ended.pid}.tmp").write_bytes(before[:100])  # what a killed process leaves
    assert pack([runs], archive).runs == 6


@pytest.mark.parametrize("begun", [False, True])
def test_two_commands_at_once_lose_nothing(
    begun: bool, runs: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, log_lines: list[str]
) -> None:
    if begun:
        pack([run(runs, "lora", 0)], archive)
    second = threading.Thread(target=pack, args=([runs / "mnli" / "minilm" / "lora"], archive))

    with monkeypatch.context() as patched:

        def begin_second() -> str:
            patched.undo()
            second.start()
            wait_until(lambda: bool(log_lines) or not second.is_alive(), "the second command to wait, or to end")
            return COMMIT

        patched.setattr(writing, "git_commit", begin_second)
        pack([runs / "mnli" / "minilm" / "gelora"], archive)
    second.join(SECONDS)
    (waiting,) = log_lines
    assert f"waiting for the archive {archive}: it is in use by process {os.getpid()} on" in waiting
    assert len(packed_paths(archive)) == 6


def test_what_a_killed_command_leaves_of_its_lock_stops_no_other(runs: Path, archive: Path) -> None:
    archive.with_name(f".{archive.name}.lock").write_text("process 1 on a machine since yesterday")
    assert pack([runs], archive).runs == 6


@pytest.mark.parametrize("begun", [False, True])
def test_an_archive_that_another_program_changes_meanwhile_is_not_replaced(
    begun: bool, runs: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = archive.with_name("other.zst")
    pack([run(runs, "lora", 1)], other)
    if begun:
        pack([run(runs, "lora", 0)], archive)

    def change() -> str:
        other.replace(archive)
        return COMMIT

    monkeypatch.setattr(writing, "git_commit", change)
    with pytest.raises(GeloraError, match="was changed while this command packed; give the same command again"):
        pack([run(runs, "gelora", 0)], archive)
    assert packed_paths(archive) == ["mnli/minilm/lora/s1-0.1"]


def test_archives_are_packed_into_one(runs: Path, archive: Path, tmp_path: Path) -> None:
    tuned, name = study(method_study("lora")), "tune/sst2-minilm-b0.15M-f95ffa1d"
    for done, place in ((8, tmp_path / "a"), (2, tmp_path / "b")):
        (place / name).mkdir(parents=True)
        write_artifact(grown(tuned, done), place / name)
    one, two = tmp_path / "one.zst", tmp_path / "two.zst"
    pack([runs / "mnli" / "minilm" / "lora", tmp_path / "a"], one)
    pack([runs, tmp_path / "b"], two)
    pack([runs, tmp_path / "a"], archive)
    at_once = archive.read_bytes()
    summary = pack([one, two], archive, force=True)
    assert (summary.runs, summary.studies, summary.refused) == (6, 1, ())
    assert archive.read_bytes() == at_once
    assert pack([archive, runs], archive).new_runs == 0
    pack([archive], archive, force=True)
    assert archive.read_bytes() == at_once
    assert pack([two / "mnli/minilm/gelora"], archive, force=True).runs == 3
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(GeloraError, match=r"notes\.txt is no archive"):
        pack([tmp_path / "notes.txt"], archive)


def test_a_damaged_run_of_another_archive_is_left_out_by_name(runs: Path, archive: Path, tmp_path: Path) -> None:
    one, damaged = tmp_path / "one.zst", tmp_path / "damaged.zst"
    pack([runs], one)
    lines = [to_line(record) for record in records(one)]
    place = next(number for number, line in enumerate(lines) if '"path":"mnli/minilm/lora/s0-0.1"' in line)
    lines[place] = lines[place].replace("task: mnli", "task: qnli").replace("seed: 0", "seed: 7")
    damaged.write_bytes(compress(lines))
    summary = pack([damaged], archive)
    assert (summary.runs, len(summary.refused)) == (5, 1)
    assert str(damaged / "mnli/minilm/lora/s0-0.1") in summary.refused[0]


@pytest.mark.parametrize("text", [b"", b"my thesis\n", b"\x28\xb5\x2f\xfd damaged"])
def test_a_file_that_is_no_archive_is_kept(text: bytes, runs: Path, archive: Path) -> None:
    archive.write_bytes(text)
    with pytest.raises(GeloraError, match="force=true begins the archive from scratch"):
        pack([runs], archive)
    assert archive.read_bytes() == text
    summary: PackedSummary = pack([runs], archive, force=True)
    assert summary.size == len(archive.read_bytes())
