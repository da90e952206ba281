"""Runs whose files were removed or edited by others, while they worked or after they had ended."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gelora_cli.config.files import read_config, write_config
from gelora_cli.config.schema import RunConfig, TaskConfig
from gelora_cli.core import run_files
from gelora_cli.core.done import mark_done
from gelora_cli.core.errors import GeloraError
from gelora_cli.launchers.signals import handle_signals
from gelora_cli.pipeline.finished import finished_config
from gelora_cli.pipeline.run import check_still_there
from tests.helpers.written_runs import write_run

TASK = TaskConfig(name="films", source="text", columns=["plot"], label="verdict", labels=["dull", "fine"])


@pytest.mark.parametrize("name", run_files.REQUIRED_FILES)
def test_a_run_that_lost_a_file_is_not_done(name: str, tmp_path: Path) -> None:
    directory = write_run(tmp_path, "lora", 0, 0.5)
    frozen = (directory / run_files.CONFIG).read_bytes()
    check_still_there(directory, frozen)
    (directory / name).unlink()
    with pytest.raises(GeloraError, match="was removed while the run worked"):
        check_still_there(directory, frozen)


def test_a_run_whose_configuration_was_changed_is_not_done(tmp_path: Path) -> None:
    directory = write_run(tmp_path, "lora", 0, 0.5)
    with pytest.raises(GeloraError, match="was changed while the run worked"):
        check_still_there(directory, b"seed: 1")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda task: replace(task, kind="x"), "task.kind=x"),
        (lambda task: replace(task, source=""), "task.source="),
        (lambda task: replace(task, columns=[]), "one or two columns"),
        (lambda task: replace(task, labels=["dull"]), "two or more different labels"),
        (lambda task: replace(task, max_length=-1), "task.max_length=-1"),
    ],
)
def test_an_edited_configuration_is_one_message(
    edit: Callable[[TaskConfig], TaskConfig], words: str, tmp_path: Path
) -> None:
    directory = write_run(tmp_path, "lora", 0, 0.5)
    config: RunConfig = replace(read_config(directory / run_files.CONFIG), task=TASK)
    for task in (TASK, edit(TASK)):
        write_config(replace(config, task=task), directory / run_files.CONFIG)
        mark_done(directory)  # DONE agrees with the edited file
        if task is TASK:
            assert finished_config(directory).task == TASK
    with pytest.raises(GeloraError, match=f"config.yaml was edited: .*{words}"):
        finished_config(directory)


@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_asks_to_stop_unless_nohup_ignores_it(ignored: bool) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with handle_signals() as stop, stop.defer_interrupts():
            signal.raise_signal(signal.SIGHUP) if ignored else stop.handle(signal.SIGHUP, None)
            assert stop.requested is not ignored
            assert (signal.getsignal(signal.SIGHUP) == signal.SIG_IGN) is ignored
    finally:
        signal.signal(signal.SIGHUP, before)
