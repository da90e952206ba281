"""`gelora --help` and `gelora COMMAND --help`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Any

from gelora_cli.commands.base import Command
from gelora_cli.core.registries import COMMANDS

COMPLETION = 'shell completion:  eval "$(gelora -sc install=bash)"   (also zsh, fish)'


def overview() -> str:
    """Return the text of `gelora --help`."""
    width = max(map(len, COMMANDS.names()))
    lines = [f"  {name:<{width}}  {COMMANDS.get(name).summary}" for name in COMMANDS.names()]
    return "\n".join(
        [
            "gelora: which LoRA rank should each transformer block get?",
            "",
            "usage: gelora COMMAND [OVERRIDES]   everything behind the command is a Hydra override, key=value",
            "",
            "commands:",
            *lines,
            "",
            "examples:",
            COMMANDS.get("run").examples,
            "",
            "gelora COMMAND --help shows a command's keys; --cfg job its composed configuration; -m sweeps.",
            COMPLETION,
        ]
    )


def command_help(command: Command[Any], given: Iterable[str] = ()) -> str:
    """Return the text of `gelora COMMAND --help`; groups among the overrides beside it decide the defaults shown."""
    from gelora_cli.config.help import key_lines

    words = list(given)
    usage = ["usage: gelora", command.name, *([str(command.positional)] if command.positional else []), "[OVERRIDES]"]
    lines = [f"gelora {command.name}: {command.summary}", "", " ".join(usage), "", "examples:", command.examples, ""]
    width = shutil.get_terminal_size((100, 24)).columns
    lines += key_lines(command.config_name, words, everything="all" in words, width=width)
    sweep = "  -m (multirun)" if command.sweepable else ""
    lines += ["", f"flags: --cfg job [--resolve]{sweep}  --config-dir DIR (your own groups)  --help [all]"]
    return "\n".join(lines)
