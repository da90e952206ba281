"""`gelora --help` and `gelora COMMAND --help`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Any

from gelora_cli.commands.base import Command
from gelora_cli.commands.terminal import wrapped
from gelora_cli.core.registries import COMMANDS

COMPLETION = 'eval "$(gelora -sc install=bash)"'
FIRST_STEPS = """  gelora doctor               check this machine
  gelora run experiment=demo  a whole run, without network
  gelora ls                   the runs, with their values
  gelora report runs          compare them on one page"""


def overview() -> str:
    """Return the text of `gelora --help`."""
    width = max(map(len, COMMANDS.names()))
    lines = [
        wrapped(COMMANDS.get(name).summary, first_indent=f"  {name:<{width}}  ", indent=" " * (width + 4))
        for name in COMMANDS.names()
    ]
    return "\n".join(
        [
            "gelora: which LoRA rank should each transformer block get?",
            "",
            "usage: gelora COMMAND [KEY=VALUE ...]",
            "",
            "commands:",
            *lines,
            "",
            "first steps:",
            FIRST_STEPS,
            "",
            "A key sets one thing, such as task=cola or train.epochs=3.",
            "gelora COMMAND --help  explains a command and its keys",
            f"shell completion       {COMPLETION}",
            "                       (also zsh and fish)",
        ]
    )


def command_help(command: Command[Any], arguments: Iterable[str] = ()) -> str:
    """Return the text of `gelora COMMAND --help`.

    Args:
        command: the command.
        arguments: what was typed beside `--help`. Groups among them (`task=cola`) decide the defaults that are shown,
            and `all` asks for every key.
    """
    from gelora_cli.config.help import key_lines  # imports what `gelora --help` does without

    words = list(arguments)
    usage = f"usage: gelora {command.name}"
    if command.positional is not None:
        usage += f" {command.positional}" if command.positional.required else f" [{command.positional}]"
    usage += " [KEY=VALUE ...]"
    lines = [
        wrapped(f"gelora {command.name}: {command.summary}"),
        "",
        usage,
        "",
        "examples:",
        command.examples,
        "",
    ]
    width = shutil.get_terminal_size((100, 24)).columns
    lines += key_lines(
        command.config_name,
        words,
        everything="all" in words,
        shown=command.shown_keys,
        hidden=command.refused_keys,
        width=width,
    )
    lines += ["", "flags:", *_flag_lines(command)]
    return "\n".join(lines)


def _flag_lines(command: Command[Any]) -> list[str]:
    """Return a line for each flag, with what it does."""
    flags = {"--help all": "every key"}
    if command.sweepable:
        flags["-m"] = "a sweep: each key may have several values, a,b,c"
    flags |= {flag: f"the same as {meaning}" for flag, meaning in command.flags.items()}
    flags["--cfg job"] = "print the configuration and do nothing"
    flags["--config-dir DIR"] = "a folder with tasks, models or clusters of your own"
    width = max(map(len, flags))
    return [
        wrapped(what, first_indent=f"  {flag:<{width}}  ", indent=" " * (width + 4)) for flag, what in flags.items()
    ]
