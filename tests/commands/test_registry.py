"""The table of commands: every file is whole, and the overview stays light."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest

from gelora_cli.commands.base import Command, Positional
from gelora_cli.config.keys import declared_keys
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS


@pytest.mark.parametrize("name", COMMANDS.names())
def test_a_command_has_a_configuration_and_a_file_of_its_own(name: str) -> None:
    command = COMMANDS.get(name)
    assert type(command).__module__ == f"gelora_cli.commands.{name}"
    assert command.config_name in ("run", name)
    assert command.config_name == "run" or command.keys.__module__ == type(command).__module__
    assert declared_keys(command.keys)
    assert set(command.groups) <= {field.name for field in fields(command.keys)}
    assert all(line.startswith("  ") and f"gelora {name}" in line for line in command.examples.splitlines())
    assert command.summary == command.summary.strip()


def test_only_commands_without_paths_are_swept() -> None:
    # A job of a sweep runs in another process, which is handed no paths.
    swept = [name for name in COMMANDS.names() if COMMANDS.get(name).sweepable]
    assert swept == ["run", "profile", "train"]
    assert all(COMMANDS.get(name).positional is None for name in swept)


def test_a_command_that_lacks_something_is_refused_when_it_is_registered() -> None:
    class Half(Command[object]):
        name = "half"
        summary = "half a command"

    with pytest.raises(GeloraError, match="lacks handle, examples, keys"):
        COMMANDS.register(Half)  # type: ignore[type-abstract]
    assert "half" not in COMMANDS


@pytest.mark.parametrize(
    ("positional", "shown"), [(Positional("RUN"), "RUN"), (Positional("DIR", many=True), "DIR...")]
)
def test_how_a_path_argument_is_shown(positional: Positional, shown: str) -> None:
    assert str(positional) == shown


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_the_overview_needs_neither_configuration_nor_numbers(arguments: list[str]) -> None:
    code = (
        "import sys; from gelora_cli.commands.main import command_line\n"
        "assert command_line(sys.argv[1:]) == 0\n"
        "heavy = {'torch', 'transformers', 'hydra', 'omegaconf', 'numpy', 'yaml'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
