"""The command as a user meets it: help, wrong input, completion, doors that stay light."""

from __future__ import annotations

import csv
import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.core import run_files
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.locks import lock_directory
from gelora_cli.core.registries import COMMANDS
from tests.helpers.bench import Bench
from tests.helpers.wrong_words import WRONG


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, glue_dir: Path, tiny_models: dict[str, Path]) -> Bench:
    """Make a directory with one finished run, which no test changes."""
    found = Bench(tmp_path_factory.mktemp("done") / "runs", glue_dir, tiny_models)
    assert found.run("task=cola") == 0
    return found


def test_help_names_every_command_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["--help"]) == 0
    overview = capsys.readouterr().out
    assert all(name in overview for name in COMMANDS.names())
    for name in COMMANDS.names():
        assert command_line([name, "--help"]) == 0
        assert f"gelora {name} " in capsys.readouterr().out


def test_the_examples_of_the_help_are_accepted() -> None:
    from gelora_cli.config.arguments import split_arguments
    from gelora_cli.config.overrides import override_problems

    for name in COMMANDS.names():
        for line in COMMANDS.get(name).examples.splitlines():
            words = shlex.split(line.split("gelora ", 1)[1], comments=True)
            given = split_arguments([word for word in words[1:] if word not in COMMANDS.get(name).flags])
            overrides = [word for word in given.words if "=" in word]
            sweeps = given.multirun or COMMANDS.get(name).compares
            problems, _ = override_problems(COMMANDS.get(name).config_name, overrides, None, multirun=sweeps)
            assert problems == [], line


def test_the_composed_configuration_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["run", "--cfg", "job", "budget=0.3M", "task=rte"]) == 0
    shown = capsys.readouterr().out
    assert "budget: 0.3M" in shown
    assert "name: rte" in shown


@pytest.mark.parametrize(("arguments", "parts"), WRONG, ids=lambda words: " ".join(words)[:60])
def test_wrong_input_is_one_clear_message(
    arguments: list[str],
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_line(arguments) == 2
    message = capsys.readouterr().err
    assert all(part in message for part in parts), message
    assert "Traceback" not in message
    assert len(message) < 700
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("runs_dir=~/my-runs", f"runs_dir: {Path.home()}/my-runs"),
        ("runs_dir=/home/josé/läufe", "runs_dir: /home/josé/läufe"),
        ("runs_dir=/a=b/c#d", "runs_dir: /a=b/c#d"),
        ("runs_dir='/a b/(c)'", "runs_dir: /a b/(c)"),
        ("+runs_dir=/näh", None),
    ],
)
def test_paths_need_no_quotes_of_their_own(
    given: str, expected: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["run", "--cfg", "job", given]) == (0 if expected else 2)
    assert expected is None or expected in capsys.readouterr().out.splitlines()


def test_what_nobody_foresaw_is_one_line_unless_debugging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("no such luck")

    monkeypatch.setattr(COMMANDS.get("ls"), "handle", fail)
    assert command_line(["ls", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError: no such luck" in line
    assert "debug=true" in line
    with pytest.raises(ZeroDivisionError):
        command_line(["ls", str(tmp_path), "debug=true"])


def test_a_file_that_the_system_refuses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setattr(COMMANDS.get("ls"), "handle", lambda *_: (tmp_path / "loop").read_text())
    assert command_line(["ls", str(tmp_path)]) == 2
    assert f"{tmp_path / 'loop'}: Too many levels" in capsys.readouterr().err


def test_too_many_open_files_name_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "a.csv")

    monkeypatch.setattr(COMMANDS.get("ls"), "handle", refuse)
    assert command_line(["ls", str(tmp_path)]) == 2
    assert "Too many open files: raise the limit" in capsys.readouterr().err


def test_a_working_directory_that_is_gone_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    os.chdir("gone")
    (tmp_path / "gone").rmdir()
    assert command_line(["ls", "/"]) == 2
    assert "the working directory is gone" in capsys.readouterr().err
    assert command_line(["ls", "--help"]) == 0


@pytest.mark.parametrize("name", ["a[b].csv", "a{b}.csv", "a'b.csv", 'a"b.csv', 'a\\"b.csv', "a[b]\\", "[review"])
def test_a_value_that_needs_quotes_is_shown_with_them(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from gelora_cli.config.overrides import override_problems

    assert command_line(["run", "task=text", f"data.text=/no/{name}", "model=minilm"]) == 2
    message = capsys.readouterr().err
    (word,) = shlex.split(message.partition("quote it: ")[2])
    assert not override_problems("run", [word], None)[0]
    assert command_line(["run", "task=text", word, "model=minilm"]) == 2
    assert f"data.text=/no/{name}: no such file or directory" in capsys.readouterr().err


def test_hydras_help_is_the_commands_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["run", "--hydra-help"]) == 0
    assert "usage: gelora run" in capsys.readouterr().out


def test_a_closed_standard_input_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from gelora_cli.config.schema import TaskConfig
    from gelora_cli.data.files import read_questions, read_rows

    monkeypatch.setattr("sys.stdin", None)
    for read in (lambda: read_rows(TaskConfig(columns=["text"]), "-"), lambda: read_questions("-")):
        with pytest.raises(GeloraError, match="standard input is closed"):
            read()


def test_several_mistakes_are_named_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["run", "task=colaa", "modle=minilm", "train.epochs=x", "seed=-1", "budget=foo"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("gelora: 5 problems")
    assert all(part in message for part in ("task=colaa", "modle", "train.epochs=x", "seed=-1", "budget=foo"))


def test_a_path_with_special_characters_can_be_given(bench: Bench, tmp_path: Path) -> None:
    place = tmp_path / "a=b, c"
    place.symlink_to(bench.data)
    assert bench.run("task=cola", f"data.glue='{place}'", "train.max_steps=2", "train.warmup_ratio=0") == 0


def test_a_directory_in_use_and_one_that_cannot_be_written(
    done: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    with lock_directory(done.only(), "the run directory"):
        assert done.run("task=cola", "force=true") == 2
    assert f"in use by process {os.getpid()}" in capsys.readouterr().err
    assert (done.only() / "DONE").exists()
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert done.run("task=cola", f"runs_dir={blocked}") == 2
    assert "can't be written to" in capsys.readouterr().err


def test_ranks_replans_from_a_run_and_ls_lists_it(
    done: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_line(["ranks", str(done.only()), "budget=rank:3", "method.modules=all"]) == 0
    shown = capsys.readouterr().out
    assert "budget rank3" in shown
    assert "output=FILE.json" in shown
    assert list(tmp_path.iterdir()) == []  # nothing is written unasked
    assert command_line(["ranks", str(done.only()), "budget=1"]) == 2
    assert "the smallest possible is" in capsys.readouterr().err
    assert command_line(["ls", str(done.root)]) == 0
    assert "done" in capsys.readouterr().out


def test_a_pattern_is_trained_with_as_the_plan_beside_it(
    done: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from peft import LoraConfig

    from gelora_cli.allocation.saved_plan import read_plan

    pattern = tmp_path / "pattern.json"
    assert command_line(["ranks", str(done.only()), "budget=rank:2", f"output={pattern}"]) == 0
    shown = capsys.readouterr().out
    assert f"ranks.path={pattern}" in shown
    plan = read_plan(str(pattern))
    assert plan == read_plan(str(tmp_path / "pattern.plan.json"))
    assert LoraConfig(**json.loads(pattern.read_text())).r == max(plan.ranks)
    fine = ["train.max_steps=2", "train.warmup_ratio=0", f"runs_dir={tmp_path / 'runs'}", f"ranks.path={pattern}"]
    assert done.run("task=cola", *fine, command="train") == 0
    (directory,) = (tmp_path / "runs").rglob("ranks.json")
    assert (
        json.loads(directory.read_text())["blocks"]
        == json.loads((tmp_path / "pattern.plan.json").read_text())["blocks"]
    )
    pattern.write_text(pattern.read_text().replace('"r": ', '"r": 1'))
    with pytest.raises(GeloraError, match=r"was changed after pattern\.plan\.json"):
        read_plan(str(pattern))
    (tmp_path / "pattern.plan.json").unlink()
    with pytest.raises(GeloraError, match=r"holds only PEFT's arguments"):
        read_plan(str(pattern))


def test_what_ranks_writes_does_not_depend_on_its_reader(done: Bench, tmp_path: Path) -> None:
    command = f"{sys.executable} -m gelora_cli ranks {done.only()} budget=rank:2 output={tmp_path / 'pattern.json'}"
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | true"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "pattern.json").exists()


def test_predictions_carry_inputs_labels_and_probabilities(
    done: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "in.csv"
    given.write_text('number,sentence\n7,"one, two"\n8,"say ""no"""\n')
    assert command_line(["predict", str(done.only()), f"file={given}"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["sentence"] for row in rows] == ["one, two", 'say "no"']
    for row in rows:
        shares = row["probabilities"]
        assert list(shares) == ["unacceptable", "acceptable"]
        assert sum(shares.values()) == pytest.approx(1)
        assert row["prediction"] == max(shares, key=lambda label: shares[label])
    assert command_line(["predict", str(done.only()), f"file={given}", f"output={tmp_path / 'out.csv'}"]) == 0
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [(row["sentence"], row["prediction"]) for row in table] == [(r["sentence"], r["prediction"]) for r in rows]
    assert float(table[0]["probability_acceptable"]) == rows[0]["probabilities"]["acceptable"]
    saved = json.loads((done.only() / "predictions.jsonl").read_text().splitlines()[0])
    assert {"sentence", "probabilities"}.isdisjoint(saved)  # a run's own file stays as it is


def test_light_commands_load_no_torch(done: Bench, tmp_path: Path) -> None:
    output = f"output={tmp_path / 'pattern.json'}"
    commands = (["--help"], ["run", "--help"], ["ls", str(done.root)], ["ranks", str(done.only()), output])
    code = (
        "import json, sys; from gelora_cli.commands.main import command_line\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    assert command_line(words) == 0, words\n"
        "    assert not {'torch', 'transformers'} & sys.modules.keys(), words\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gelora ", {"run", "profile", "ls"}),
        ("gelora pr", {"profile", "predict"}),
        ("gelora run task=", {"task=cola", "task=wnli"}),
        ("gelora run train.ep", {"train.epochs="}),
        ("gelora ls runs", {"runs_dir="}),
        ("gelora run precision=", {"precision=auto", "precision=float32", "precision=bf16"}),
        ("gelora run task=cola protocol=d", {"protocol=dev"}),
        ("gelora train force=", {"force=true", "force=false"}),
        ("gelora export form=m", {"form=merged"}),
        ("gelora profile signals=idim,gr", {"signals=idim,gradients"}),
        ("gelora ranks some/profile.json bud", {"budget="}),
    ],
)
def test_completion(
    line: str, expected: set[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert command_line(["-sc", "query=bash"]) == 0
    shown = set(capfd.readouterr().out.split())
    assert expected <= shown
    if line.endswith(("pr", "=d", "=m")):
        assert shown == expected


def test_the_hub_that_cannot_be_reached_is_named_with_a_way_on(tmp_path: Path) -> None:
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    commands = [
        ["run", "task=demo", "model=bert_base", f"runs_dir={tmp_path}"],
        ["run", "task=cola", "model=minilm", f"runs_dir={tmp_path}"],
    ]
    code = (
        "import json, sys; from gelora_cli.commands.main import command_line\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    print(f'<{command_line(words)}>', file=sys.stderr)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)], capture_output=True, text=True, env=environment, check=True
    )
    model, data, _ = ended.stderr.split("<2>")
    assert "model=minilm" in model
    assert "data.glue=DIR" in data


def test_the_next_command_cleans_what_a_killed_one_left(done: Bench) -> None:
    run = done.only()
    (profile,) = (done.root / run_files.PROFILES).iterdir()
    left = [run / "checkpoints" / "step-1", profile / "states"]
    for place in left:
        place.mkdir(parents=True)
        (place / "state.safetensors").write_text("left")
    assert done.run("task=cola") == 0
    assert not (run / "checkpoints").exists()
    assert done.run("task=cola", command="profile") == 0
    assert not (profile / "states").exists()
    (run / "checkpoints").mkdir()
    assert command_line(["predict", str(run), f"file={__file__}", "output=/dev/null"]) in (0, 2)
    assert not (run / "checkpoints").exists()


def test_a_lock_that_is_a_link_is_one_message(done: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    run = done.only()
    (done.root / "thesis.txt").write_text("years of work")
    (run / run_files.LOCK).unlink()
    (run / run_files.LOCK).symlink_to(done.root / "thesis.txt")
    assert done.run("task=cola", "force=true") == 2
    assert ".lock is a symbolic link" in capsys.readouterr().err
    assert (done.root / "thesis.txt").read_text() == "years of work"
    (run / run_files.LOCK).unlink()
    assert done.run("task=cola") == 0
