"""Hydra overrides checked before Hydra composes them, so that every mistake is named at once with the nearest name."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gelora_cli.config import SCHEMAS, config_dir, nearest

NOT_AN_OVERRIDE = (
    "not an override; accepted is key=value, such as task=cola or train.epochs=3; quote values that hold a comma, = or "
    "a space: 'data.glue=\"/my data\"'"
)


def split_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags with their values, and the overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    pending = False
    for argument in arguments:
        if pending or argument.startswith("-"):
            flags.append(argument)
            takes_value = argument in ("--config-dir", "-cd", "--config-name", "-cn", "--cfg", "-c", "--package", "-p")
            pending = not pending and takes_value
        else:
            overrides.append(argument)
    return flags, overrides


def override_problems(config_name: str, overrides: list[str], extra: Path | None) -> tuple[list[str], list[str]]:
    """What is wrong with the overrides, and those with nothing wrong; `extra` is a folder of the user's own groups."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    problems: list[str] = []
    good: list[str] = []
    parser = OverridesParser.create()
    for text in overrides:
        try:
            override = parser.parse_override(text)
            found = [
                problem for value in _values(override) for problem in _problem(config_name, override, value, extra)
            ]
        except HydraException:
            found = [f"{text}: {NOT_AN_OVERRIDE}"]
        problems += found
        good += [] if found else [text]
    return problems, good


def group_choices(group: str, extra: Path | None = None) -> list[str]:
    """The options of a configuration group: ours, and those of the user's folder."""
    folders = [config_dir() / group, *([extra / group] if extra else [])]
    return sorted({path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.yaml")})


def groups(config_name: str) -> list[str]:
    """The configuration groups that a command's schema has."""
    names = [field.name for field in dataclasses.fields(SCHEMAS[config_name])]
    found = [name for name in names if (config_dir() / name).is_dir()]
    return [*found, "experiment"] if config_name == "run" else found


def keys(schema: Any, prefix: str = "") -> Iterator[str]:
    """Every key of a schema, dotted."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            yield from keys(kind, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def _values(override: Any) -> list[Any]:
    """The value, or each value of a sweep."""
    if override.is_sweep_override() and override.is_discrete_sweep():
        return list(override.sweep_iterator())
    return [override.value()]


def _problem(config_name: str, override: Any, value: Any, extra: Path | None) -> list[str]:
    key = override.key_or_group
    if key.split(".")[0].split("/")[0] == "hydra" or override.is_delete():
        return []
    if key in groups(config_name):
        choices = group_choices(key, extra)
        return (
            []
            if value is None or str(value) in choices
            else [f"{key}={value}: unknown {key}; {nearest(str(value), choices)}"]
        )
    return (
        []
        if override.is_sweep_override() and not override.is_discrete_sweep()
        else _key_problem(config_name, key, value)
    )


def _key_problem(config_name: str, key: str, value: Any) -> list[str]:
    from omegaconf import OmegaConf
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

    config = OmegaConf.structured(SCHEMAS[config_name])
    try:
        OmegaConf.update(config, key, value, force_add=False)
    except (ConfigKeyError, ConfigAttributeError):
        return [f"{key}={value}: unknown key; {_near_keys(config_name, key)}"]
    except OmegaConfBaseException as error:
        return [f"{key}={value}: {str(error).splitlines()[0]}; the default is {OmegaConf.select(config, key)}"]
    return []


def _near_keys(config_name: str, key: str) -> str:
    """The nearest key, and those of the same section (or the sections)."""
    known = list(keys(SCHEMAS[config_name]))
    section = key.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == section] or sorted(
        {n.split(".")[0] for n in known}
    )
    close = difflib.get_close_matches(key, [*known, *groups(config_name)], n=1, cutoff=0.6)
    return (f"did you mean {close[0]}? " if close else "") + f"accepted: {', '.join(siblings)}"
