"""The commands in the order in which `gelora --help` lists them; each file is imported when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gelora_cli.core.registry import Registry

if TYPE_CHECKING:
    from gelora_cli.commands.base import Command

NAMES = (
    "run",
    "profile",
    "ranks",
    "train",
    "evaluate",
    "predict",
    "export",
    "submit",
    "ls",
    "report",
    "fetch",
    "doctor",
)
"""A command is the file of its name beside this one."""

COMMANDS: Registry[Command[Any]] = Registry(
    "command", "gelora_cli.commands.base:Command", {name: f"gelora_cli.commands.{name}" for name in NAMES}
)
