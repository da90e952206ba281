"""One command line: its path arguments and overrides, and then one job or a sweep."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gelora_cli.commands.base import Command, user_path
from gelora_cli.commands.execution import execute
from gelora_cli.commands.hydra_app import compose_each
from gelora_cli.commands.override_checks import check_overrides
from gelora_cli.config.arguments import split_arguments
from gelora_cli.config.unread import given_keys
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS


def run_command(command: Command[Any], arguments: Sequence[str]) -> int:
    """Check the arguments of a command, then do it once or for every job of a sweep; return the exit code.

    Raises:
        GeloraError: all that is wrong with the arguments.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise GeloraError("the working directory is gone or can't be read; change to another one: cd DIR") from error
    arguments = [_current_argument(command, argument) for argument in arguments]
    words = [command.name, *arguments]
    parsed = split_arguments([command.flags.get(argument, argument) for argument in arguments])
    if parsed.multirun and not command.sweepable:
        raise GeloraError(f"gelora {command.name} takes no -m; these commands do: {', '.join(sweepable_names())}")
    if command.compares and not parsed.multirun and not parsed.shows_config:
        parsed = replace(parsed, flags=[*parsed.flags, "--multirun"])
    paths = _check_paths(command, [word for word in parsed.words if _is_path(word)])
    overrides = check_overrides(command.config_name, parsed, [word for word in parsed.words if not _is_path(word)])
    has_launcher = any(override.startswith("hydra/launcher=") for override in overrides)
    if parsed.multirun and not has_launcher:
        if command.compares:
            return command.compare(parsed.flags, overrides, words)
        from gelora_cli.commands.sweeping import run_sweep

        return run_sweep(command, parsed.flags, overrides, words)
    codes: list[int] = []
    given = () if parsed.multirun else given_keys(overrides)  # a sweep by Hydra's own launcher has several tasks
    compose_each(
        command.config_name,
        parsed.flags,
        overrides,
        lambda config: codes.append(execute(command, config, paths, words, given).code),
        elsewhere=has_launcher,
    )
    return max(codes, default=0)


def _current_argument(command: Command[Any], argument: str) -> str:
    """Return an argument under its present name; one of the release before is accepted with a warning."""
    current = command.renamed.get(argument, argument)
    if current != argument:
        print(f"warning: {argument} is called {current} now, and the next release knows no other", file=sys.stderr)
    return current


def sweepable_names() -> list[str]:
    """Return the commands that take `-m`."""
    return [name for name in COMMANDS.names() if COMMANDS.get(name).sweepable]


def _is_path(word: str) -> bool:
    """Return whether an argument is a path (`./a=b/c`), not an override (`key=value`, `~key`)."""
    if word.startswith(("/", "./", "../", "~/")):
        return True
    return "=" not in word and (not word.startswith("~") or "/" in word)


def _check_paths(command: Command[Any], words: list[str]) -> list[Path]:
    """Return the path arguments.

    Raises:
        GeloraError: there are more or fewer than the command takes.
    """
    positional = command.positional
    if positional is None:
        accepted, expected = not words, "only KEY=VALUE, such as task=cola"
    elif positional.many:
        accepted, expected = bool(words) or not positional.required, str(positional)
    else:
        accepted, expected = len(words) == 1 or not (words or positional.required), f"one {positional}"
    if not accepted:
        words_given = " ".join(words) or "nothing"
        raise GeloraError(
            f"gelora {command.name} takes {expected}; given: {words_given}. Examples:\n{command.examples}"
        )
    return [user_path(word) for word in words]
