"""Prompts of one's own through the commands: conversations with a chat template, and what is refused first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.config.files import read_config
from gelora_cli.core import run_files
from tests.helpers.bench import FAST, predictions, with_overrides
from tests.helpers.tiny import make_tiny
from tests.helpers.tiny_completions import CHAT_TEMPLATE, completion_split

SHORT = ["task=instruct", "task.max_new_tokens=4", "task.max_length=48", "method=lora", "budget=rank:2"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a decoder with a chat template of its own."""
    directory = make_tiny("llama", tmp_path_factory.mktemp("chat") / "llama", layers=2)
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def conversations(model: Path) -> Path:
    """Write forty rows of one question and its answer."""
    split = completion_split(30)
    assert split.completions is not None
    rows = []
    for prompt, completion in zip(split.prompts, split.completions, strict=True):
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion.strip()}]
        rows.append({"messages": messages})
    return write(model.parent / "Some chats.jsonl", rows)


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def words(model: Path, runs: Path, *more: str) -> list[str]:
    return ["run", *SHORT, *FAST, f"model.path={model}", f"runs_dir={runs}", "profile.max_examples=20", *more]


def test_a_run_on_conversations_and_prompts_that_follow_it(
    model: Path, conversations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(words(model, tmp_path, f'data.instruct="{conversations}"')) == 0
    (run,) = (path.parent for path in tmp_path.rglob("run.json"))
    assert run.relative_to(tmp_path).parts[0] == "Some-chats"
    assert read_config(run / run_files.CONFIG).task.columns == ["messages"]
    rows = predictions(run)
    assert len(rows) == 3
    prompts = write(tmp_path / "prompts.jsonl", [{"messages": [{"role": "user", "content": "the cat"}]}])
    (tmp_path / "prompts.txt").write_text("the cat\n")
    capsys.readouterr()
    written = []
    for file in (prompts, tmp_path / "prompts.txt"):
        assert command_line(["predict", str(run), f"file={file}"]) == 0
        written.append(json.loads(capsys.readouterr().out)["prediction"])
    assert written[0] == written[1]
    # The template counts: with another one it is another model for this task.
    (model / "chat_template.jinja").write_text(CHAT_TEMPLATE.replace("'<'", "'['"), encoding="utf-8")
    assert command_line(["predict", str(run), f"file={prompts}"]) == 2
    assert "is not the model that" in capsys.readouterr().err
    (model / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def test_what_is_wrong_is_said_before_any_work(
    model: Path, conversations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system = {"role": "system", "content": "be short"}
    chat = [*json.loads(conversations.read_text().splitlines()[0])["messages"]]
    odd = write(tmp_path / "system.jsonl", [{"messages": [system, *chat]}] * 2)
    file = write(tmp_path / "rows.jsonl", [{"question": "the cat", "answer": " sat"}])
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT_TEMPLATE
    wrong = [
        ([], "task=instruct needs data: give data.instruct=FILE"),
        ([f"data.instruct={file}"], "no column prompt for the prompts; it has question, answer"),
        ([f"data.instruct={odd}", f"data.instruct_validation={odd}"], "refuses a conversation of system, user"),
        (["task.prompt='{question'"], "task.prompt='{question': expected '}'"),
        (["task.prompt=question"], "it names no column, so that all rows would be equal"),
        (["task.columns=[messages]", "task.prompt='{question}'"], "takes one column of conversations, or task.prompt"),
        (["task=demo", "task.prompt='{question}'"], "task.kind=classification has no prompts; leave it out"),
    ]
    (model / "chat_template.jinja").write_text(strict, encoding="utf-8")
    for overrides, message in wrong:
        assert command_line(with_overrides(words(model, tmp_path / "runs"), overrides)) == 2
        assert message in capsys.readouterr().err
    (model / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    assert not (tmp_path / "runs").exists()
