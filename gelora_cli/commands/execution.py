"""Run one command with its composed configuration, in this process or on those of an outer launcher."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gelora_cli.commands.base import Command
from gelora_cli.commands.failures import print_error, shorten, user_error
from gelora_cli.config.checks import list_problems, value_problems
from gelora_cli.config.composing import composed_config
from gelora_cli.config.schema import RunConfig
from gelora_cli.config.unread import unread_problems
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.plugins import plugin_line
from gelora_cli.core.registries import LAUNCHERS
from gelora_cli.launchers.base import DEFAULT
from gelora_cli.launchers.job import Outcome
from gelora_cli.launchers.torchrun import inside_workers, run_on_rank0


def execute(
    command: Command[Any], composed: Any, paths: list[Path], words: list[str], given: Collection[str] = ()
) -> Outcome:
    """Run a command, and return its outcome.

    An error becomes one message, which is printed at once, so that the other jobs of a sweep still run.

    Args:
        command: the command.
        composed: the configuration, as Hydra composed it or as the command's dataclass.
        paths: the path arguments.
        words: the command and its arguments, as they were typed.
        given: the keys that the user gave, which the task must read; none where a sweep has checked them.

    Raises:
        Exception: any error unchanged if `debug=true` is given.
    """
    config: Any = None
    try:
        config = composed_config(composed) if isinstance(composed, DictConfig) else composed
        if isinstance(config, RunConfig) and (problems := unread_problems([config], given)):
            raise GeloraError(list_problems([*problems, *value_problems(config)]))
        return _handle(command, config, paths, shlex.join(["gelora", *words])) or Outcome(0)
    except (Exception, SystemExit) as error:
        of_other_code = isinstance(error, SystemExit) and not plugin_line(error)
        if of_other_code or getattr(config, "debug", False):
            raise
        message = user_error(error)
        return Outcome(print_error(message), message.directory, shorten(str(message)))


def _handle(command: Command[Any], config: Any, paths: list[Path], typed: str) -> Outcome | None:
    """Run the command in this process, or as one of the processes that an outer launcher (torchrun) has started.

    Raises:
        GeloraError: `launch.launcher` is given without a sweep, or `dry_run` on several processes.
    """
    launcher = getattr(getattr(config, "launch", None), "launcher", DEFAULT)
    if launcher != DEFAULT and launcher in LAUNCHERS:  # the command's own checks refuse an unknown name
        raise GeloraError(f"launch.launcher={launcher} runs the jobs of a sweep: add -m, or leave it out")
    for name, of_one_job in (("parallel", (None, 1)), ("gpus_per_run", (None,))):
        value = getattr(getattr(config, "launch", None), name, None)
        if value not in of_one_job:
            raise GeloraError(f"launch.{name}={value:g} runs jobs of a sweep side by side: add -m, or leave it out")
    # Inside an outer launcher a command that can't be shared is done by each process, as if there were no launcher.
    if not command.launchable or not inside_workers():
        return command.handle(config, paths, typed)
    if getattr(config, "dry_run", False):
        raise GeloraError("dry_run=true estimates on one process: leave the launcher (torchrun) out")
    from gelora_cli.core.devices import check_started_processes
    from gelora_cli.pipeline.worker import main as follow

    check_started_processes()  # in every process alike, before any waits for another
    config.launch.processes = int(os.environ["WORLD_SIZE"])  # whatever was typed: the launcher has started so many
    return run_on_rank0(lambda: command.handle(config, paths, typed), follow)
