"""The command as a user meets it: help, wrong input, completion, doors that stay light."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gelora_cli import cli
from gelora_cli.cli import COMMANDS, command_line
from tests.test_pipeline import Bench


@pytest.fixture
def bench(tmp_path: Path, glue_dir: Path, tiny_models: dict[str, Path]) -> Bench:
    return Bench(tmp_path / "runs", glue_dir, tiny_models)


def shell(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gelora_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def test_help_names_every_command_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["--help"]) == 0
    overview = capsys.readouterr().out
    assert all(name in overview for name in COMMANDS)
    for name in COMMANDS:
        assert command_line([name, "--help"]) == 0
        assert f"gelora {name} " in capsys.readouterr().out


def test_the_examples_of_the_help_are_accepted() -> None:
    from gelora_cli.overrides import override_problems, split_arguments

    for name, text in cli.EXAMPLES.items():
        for line in text.splitlines():
            words = shlex.split(line.split("gelora ", 1)[1], comments=True)
            overrides = [word for word in split_arguments(words[1:])[1] if "=" in word]
            assert override_problems(cli._config_name(name), overrides, None)[0] == [], line


def test_the_composed_configuration_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["run", "--cfg", "job", "budget=0.3M", "task=rte"]) == 0
    shown = capsys.readouterr().out
    assert "budget: 0.3M" in shown
    assert "name: rte" in shown


WRONG: list[tuple[list[str], list[str]]] = [
    (["runn"], ["runn: unknown command", "did you mean run?"]),
    (["-m", "run"], ["put it behind"]),
    (["run", "task=colaa"], ["task=colaa: unknown task", "did you mean cola?", "sst2"]),
    (["run", "model=minlm"], ["unknown model", "did you mean minilm?"]),
    (["run", "method=gelor"], ["unknown method", "did you mean gelora?"]),
    (["run", "train.epoch=3"], ["train.epoch=3: unknown key", "did you mean train.epochs?"]),
    (["run", "nonsense"], ["takes only key=value overrides, nonsense given"]),
    (["run", "train.epochs=ten"], ["train.epochs=ten", "Integer"]),
    (["run", "train.epochs=0"], ["train.epochs=0", "at least 1"]),
    (["run", "train.batch_size=-1"], ["train.batch_size=-1", "at least 1"]),
    (["run", "train.learning_rate=0"], ["train.learning_rate=0", "above 0"]),
    (["run", "train.batch_size=9", "launch.processes=2"], ["train.batch_size=9", "launch.processes=2", "=10"]),
    (["run", "budget=much"], ["budget=much", "0.3M"]),
    (["run", "budget=0"], ["budget=0", "above zero"]),
    (["run", "budget=-5"], ["budget=-5", "above zero"]),
    (["run", "budget=101%"], ["budget=101%", "100 %"]),
    (["run", "precision=fp16"], ["precision=fp16", "bf16"]),
    (["run", "protocol=best"], ["protocol=best", "dev, last"]),
    (["run", "profile.pooling=max"], ["profile.pooling=max", "cls, last, mean"]),
    (["run", "data.glue=/no/such/place", "model=minilm"], ["/no/such/place", "no such directory"]),
    (["run", "task=demo", "model.path=/no/such/model"], ["/no/such/model", "no directory"]),
    (["run", "task=demo", "model=minilm", "launch.processes=64", "train.batch_size=64"], ["launch.processes=64"]),
    (["evaluate"], ["takes one RUN, nothing given"]),
    (["evaluate", "/no/run"], ["/no/run is not a finished run"]),
    (["predict", "/no/run"], ["/no/run is not a finished run"]),
    (["ranks", "/no/profile.json"], ["/no/profile.json can't be read"]),
    (["ls", "/no/runs"], ["/no/runs: no such directory"]),
]


@pytest.mark.parametrize(("arguments", "parts"), WRONG, ids=" ".join)
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
    assert list(tmp_path.iterdir()) == []


def test_several_mistakes_are_named_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["run", "task=colaa", "modle=minilm", "train.epochs=x", "seed=-1", "budget=foo"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("gelora: 5 problems")
    assert all(part in message for part in ("task=colaa", "modle", "train.epochs=x", "seed=-1", "budget=foo"))


def test_a_path_with_special_characters_can_be_given(bench: Bench, tmp_path: Path) -> None:
    place = tmp_path / "a=b, c"
    place.symlink_to(bench.data)
    assert bench.run("task=cola", f"data.glue='{place}'", "train.max_steps=2", "train.warmup_ratio=0") == 0


def test_a_directory_in_use_and_one_that_cannot_be_written(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    from gelora_cli import rundir

    assert bench.run("task=cola") == 0
    with rundir.locked(bench.only(), "the run directory"):
        assert bench.run("task=cola", "force=true") == 2
    assert f"in use by process {os.getpid()}" in capsys.readouterr().err
    assert (bench.only() / "DONE").exists()
    blocked = bench.root / "file"
    blocked.write_text("")
    assert bench.run("task=cola", f"runs_dir={blocked}") == 2
    assert "can't be written to" in capsys.readouterr().err


def test_ranks_replans_from_a_run_and_ls_lists_it(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run("task=cola") == 0
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert command_line(["ranks", str(bench.only()), "budget=rank:3", "method.modules=all"]) == 0
    shown = capsys.readouterr().out
    assert "budget rank3" in shown
    assert (tmp_path / "rank_pattern-brank3.json").exists()
    assert command_line(["ranks", str(bench.only()), "budget=1"]) == 2
    assert "the smallest possible is" in capsys.readouterr().err
    assert command_line(["ls", str(bench.root)]) == 0
    assert "done" in capsys.readouterr().out


def test_light_commands_load_no_torch(bench: Bench) -> None:
    assert bench.run("task=cola") == 0
    code = (
        "import sys; from gelora_cli.cli import command_line; code = command_line(sys.argv[1:]); "
        "sys.exit(code or sum(name in sys.modules for name in ('torch', 'transformers')))"
    )
    output = f"output={bench.root / 'pattern.json'}"
    for words in (["--help"], ["run", "--help"], ["ls", str(bench.root)], ["ranks", str(bench.only()), output]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gelora ", {"run", "profile", "ls"}),
        ("gelora pr", {"profile", "predict"}),
        ("gelora run task=", {"task=cola", "task=wnli"}),
        ("gelora run train.ep", {"train.epochs="}),
        ("gelora ls runs", {"runs_dir="}),
    ],
)
def test_completion(line: str, expected: set[str]) -> None:
    done = shell("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert expected <= set(done.stdout.split()), done.stderr
    if line.endswith("pr"):
        assert set(done.stdout.split()) == expected


def test_the_hub_that_cannot_be_reached_is_named_with_a_way_on(tmp_path: Path) -> None:
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    done = shell("run", "task=demo", "model=bert_base", f"runs_dir={tmp_path}", **environment)
    assert done.returncode == 2
    assert "model=minilm" in done.stderr
    done = shell("run", "task=cola", "model=minilm", f"runs_dir={tmp_path}", **environment)
    assert done.returncode == 2
    assert "data.glue=DIR" in done.stderr
