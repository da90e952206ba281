"""Configuration groups: which a command has, and the options of each."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from gelora_cli.config.schema import command_keys, takes_run_keys
from gelora_cli.config.shipped import config_dir
from gelora_cli.core.plugins import loaded_folders


def group_choices(group: str, extra: Path | None = None) -> list[str]:
    """Return the options of a configuration group: those of gelora, of plug-ins and of the user's folder."""
    options: set[str] = set()
    for folder in (config_dir(), *([extra] if extra else []), *loaded_folders()):
        if (folder / group).is_dir():
            options |= {path.stem for path in (folder / group).glob("*.yaml")}
    return sorted(options)


def option_file(group: str, option: str) -> Path | None:
    """Return the file of an option, of gelora or of a loaded plug-in; None where neither has it."""
    files = [folder / group / f"{option}.yaml" for folder in (config_dir(), *loaded_folders())]
    return next((file for file in files if file.exists()), None)


def groups(config_name: str) -> list[str]:
    """Return the configuration groups of a command."""
    names = [field.name for field in dataclasses.fields(command_keys(config_name))]
    found = [name for name in names if (config_dir() / name).is_dir()]
    return [*found, "experiment"] if takes_run_keys(config_name) else found
