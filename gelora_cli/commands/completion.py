"""Shell completion: the command word and the accepted values of keys are completed here, the rest by Hydra."""

from __future__ import annotations

import os

from gelora_cli.commands.hydra_app import call_hydra
from gelora_cli.config.keys import accepted_words
from gelora_cli.config.schema import command_keys
from gelora_cli.core.registries import COMMANDS


def complete_words(arguments: list[str]) -> int:
    """Print the completions of the line in `COMP_LINE`, or the script that `-sc install=SHELL` asks for."""
    config_name = "run"
    if any("query=" in argument for argument in arguments):
        words = os.environ.get("COMP_LINE", "").split(" ")
        if len(words) <= 2:
            start = words[-1] if len(words) == 2 else ""
            print(" ".join(name for name in COMMANDS.names() if name.startswith(start)))
            return 0
        if words[1] not in COMMANDS:
            return 0
        config_name = COMMANDS.get(words[1]).config_name
        if values := _complete_value(config_name, words[-1]):
            print(" ".join(values))
            return 0
        os.environ["COMP_LINE"] = " ".join([words[0], *words[2:]])
    call_hydra(config_name, arguments, [], lambda _: None)
    return 0


def _complete_value(config_name: str, word: str) -> list[str]:
    """Return the completions of `key=` and the start of a value, of a key whose accepted values are known."""
    key, equals, start = word.partition("=")
    accepted = accepted_words(command_keys(config_name), key) if equals else ()
    return [f"{key}={value}" for value in accepted if value.startswith(start)]
