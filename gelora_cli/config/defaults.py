"""The defaults of a command as they are for a task, model and method: read from `configs/` without Hydra.

Hydra takes most of a second to start; help has less. It reads the same files by the few rules that they use: a list of
`defaults` in order, each a group with its option or a file of the same group, and `_self_` for the file itself.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from gelora_cli.config.groups import option_file
from gelora_cli.config.schema import command_keys, takes_run_keys
from gelora_cli.config.shipped import config_dir
from gelora_cli.config.typed import typed
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS


@functools.cache
def default_options(config_name: str) -> Mapping[str, str]:
    """Return the option that each configuration group of a command has by default; not to be changed by the caller."""
    if not takes_run_keys(config_name):
        return dict(COMMANDS.get(config_name).groups)
    entries = _read(config_dir() / "run.yaml").get("defaults", [])
    groups = [entry for entry in entries if isinstance(entry, dict)]
    options = {group: option for entry in groups for group, option in entry.items()}
    return {group: option for group, option in options.items() if option_file(group, str(option))}


def resolved_defaults(config_name: str, options: Mapping[str, str]) -> Any:
    """Return a command's configuration with these options of its groups, training settings from their preset.

    Raises:
        GeloraError: an option has no file here, or its preset can't be used.
    """
    try:
        config = typed(command_keys(config_name), composed_values(config_name, options))
    except ValueError as error:
        raise GeloraError(f"configs: {error}") from error
    return COMMANDS.get(config_name).with_defaults(config)


def composed_values(config_name: str, options: Mapping[str, str]) -> dict[str, Any]:
    """Return what gelora's files set of a command's keys, with these options of its groups.

    Raises:
        GeloraError: gelora has no such option.
    """
    values = _read(config_dir() / "run.yaml") if takes_run_keys(config_name) else {}
    values.pop("defaults", None)
    for group, option in {**default_options(config_name), **options}.items():
        values[group] = _merged(_option(group, option), values.get(group, {}))
    return values


def schema_defaults(config_name: str) -> Any:
    """Return a command's configuration with nothing but the defaults of its declarations."""
    return cast(Any, command_keys(config_name))()


def shipped_values(group: str, option: str) -> Mapping[str, Any]:
    """Return what the file of an option sets, of gelora or of a loaded plug-in; nothing where there is none."""
    file = option_file(group, option)
    return {} if file is None else _option_of_file(group, option, file)


@functools.lru_cache(maxsize=64)
def _option_of_file(group: str, option: str, _file: Path) -> Mapping[str, Any]:
    """Return the values of an option, read once for each file; not to be changed by the caller."""
    return _option(group, option)


def _option(group: str, option: str) -> dict[str, Any]:
    """Return the values of an option of a group, those of the files that it builds on below its own.

    Raises:
        GeloraError: neither gelora nor a loaded plug-in has such an option.
    """
    file = option_file(group, option)
    if file is None:
        raise GeloraError(f"{group}={option}: no option of gelora's own, nor of a plug-in")
    own = _read(file)
    values: dict[str, Any] = {}
    for base in own.pop("defaults", []):
        if base != "_self_":
            values = _merged(values, _option(group, base))
    return _merged(values, own)


def _merged(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return both mappings as one; where both hold a mapping, these are merged, too."""
    merged = dict(values)
    for name, value in over.items():
        known = merged.get(name)
        merged[name] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def _read(file: Path) -> dict[str, Any]:
    return cast(dict[str, Any], yaml.safe_load(file.read_text(encoding="utf-8")) or {})
