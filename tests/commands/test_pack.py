"""`gelora pack`: what it prints, and what it says of a wrong command."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.core import run_files
from gelora_cli.core.codec import write_artifact
from tests.helpers.packed_runs import COMMIT, write_packable
from tests.helpers.studies import method_study, study


def test_pack_says_what_the_archive_holds_and_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        write_packable(tmp_path / "runs", "lora", seed)
    (tmp_path / "runs" / "mnli" / "minilm" / "lora" / "s1-0.1" / "result.json").write_text("{}")
    (tmp_path / "runs" / "mnli" / "minilm" / "lora" / "s2-0.1" / run_files.DONE).unlink()
    assert command_line(["pack", "runs", "output=a file.zst"]) == 0
    out, err = capsys.readouterr()
    size = len((tmp_path / "a file.zst").read_bytes())
    assert out.splitlines() == [
        f"archive:  a file.zst ({size:,} bytes)",
        "runs:     1 (1 new)",
        "studies:  0 (0 new or grown)",
        "not done: 1 runs, which are left out",
        f"commits:  {COMMIT}",
    ], "no git add: this is no checkout"
    assert err.startswith("not packed: ")
    assert "s1-0.1/result.json is damaged or was changed since the run ended" in err
    assert command_line(["pack", "runs", "output=a file.zst"]) == 0
    assert "runs:     1 (0 new)" in capsys.readouterr().out


def test_pack_proposes_git_add_only_where_git_takes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_packable(tmp_path / "runs", "lora", 0)
    subprocess.run(["git", "init", "--quiet"], check=True)
    Path(".gitignore").write_text("/ignored.zst\n")
    assert command_line(["pack", "runs", "output=ignored.zst"]) == 0
    assert "git add" not in capsys.readouterr().out
    assert command_line(["pack", "runs", "output=a file.zst"]) == 0
    assert capsys.readouterr().out.endswith("next:\n  git add 'a file.zst'\n")


def test_an_archive_of_a_study_alone_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "tune" / "sst2-minilm-b0.15M-1a2b3c4d"
    folder.mkdir(parents=True)
    write_artifact(study(method_study("lora")), folder)
    assert command_line(["pack", "runs/tune", "output=tune.zst"]) == 0
    out = capsys.readouterr().out
    assert "runs:     0 (0 new)" in out and "studies:  1 (1 new or grown)" in out
    assert "studies alone: to report on runs, pack the directory above them, too" in out and "commits" not in out
    assert command_line(["report", "tune.zst"]) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert "no finished run at or below tune.zst." in printed
    assert "Give the directories of finished runs, those above them, or an archive that holds runs" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pack", "runs"], "output=FILE is needed"),
        (["pack", "runs", "nowhere", "output=a.zst"], "nowhere: no such directory; give run directories, those above"),
        (["pack", "output=a.zst"], "gelora pack takes DIR...; given: nothing"),
        (["pack", "runs", "output=runs"], "is a directory; name a file in it, such as output=runs/runs.jsonl.zst"),
        (["pack", "runs", "output=/dev/null"], "output=/dev/null is a device or a pipe"),
        (["pack", "runs", "output=no/a.zst"], "no does not exist"),
        (["pack", "runs", "output=a.zst"], "nothing to pack at or below runs. Give finished runs, the directory above"),
        (["pack", "runs", "output=a.zst", "mix_commit=true"], "mix_commits"),
    ],
)
def test_a_wrong_command_is_refused_and_writes_nothing(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert command_line(words) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize(
    ("command", "setting"), [(["pack", "runs", "output=a.zst"], "output=FILE"), (["report", "runs"], "output=DIR")]
)
def test_a_write_that_fails_names_the_key_of_its_place(
    command: list[str],
    setting: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_packable(tmp_path / "runs", "lora", 0)

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    assert command_line(command) == 2
    message = f"check the directory, or choose another with {setting}, and run the same command again."
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_name_that_is_too_long_is_said_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_packable(tmp_path / "runs", "lora", 0)
    assert command_line(["pack", "runs", f"output={'a' * 250}"]) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert "can't be written: File name too long" in printed and "output=FILE" in printed


@pytest.mark.parametrize("output", ["report", "pack/a.zst", "."])
def test_nothing_is_written_into_the_directory_of_a_run(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_packable(tmp_path / "runs", "lora", 0)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(run)
    for command in ("report", "pack"):
        assert command_line([command, str(tmp_path / "runs"), f"output={output}"]) == 2
        assert f"output={output} is within the run" in " ".join(capsys.readouterr().err.split())
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("place", ["typo", "mnli/typo", "mnli/minilm/lora/s0-0.1/typo", "mnli/minilm/lora/s0-0.1/a/b"])
def test_a_path_that_an_archive_lacks_is_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_packable(tmp_path / "runs", "lora", 0)
    assert command_line(["pack", "runs", "output=a.zst"]) == 0
    for command in (
        ["ls", f"a.zst/{place}"],
        ["report", "runs", f"a.zst/{place}"],  # the runs that are there hide no typing error
        ["pack", f"a.zst/{place}", "output=b.zst"],
        ["run", "task=demo", f"archives=[a.zst/{place}]"],
        ["tune", "task=demo", f"archives=[a.zst/{place}]"],
    ):
        capsys.readouterr()
        assert command_line(command) == 2, command
        out, err = capsys.readouterr()
        assert f"a.zst/{place}" in err or f"a.zst holds no run {place}; gelora ls a.zst lists" in err
        assert not out and len(err) < 300
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zst", "runs"]
