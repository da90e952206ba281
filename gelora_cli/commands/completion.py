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
        key, equals, start = words[-1].partition("=")
        accepted = accepted_words(command_keys(config_name), key) if equals else ()
        before, comma, last = start.rpartition(",")  # of a list, or of the values of a sweep
        if completions := [f"{key}={before}{comma}{value}" for value in accepted if value.startswith(last)]:
            print(" ".join(completions))
            return 0
        # Hydra completes what is left. It knows no command word and no paths, so it gets the line without them.
        known = [word for word in words[2:-1] if "=" in word or word.startswith(("-", "~"))]
        os.environ["COMP_LINE"] = " ".join([words[0], *known, words[-1]])
    call_hydra(config_name, arguments, [], lambda _: None)
    return 0
