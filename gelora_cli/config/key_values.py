"""What is wrong with one value of a key, by what its declaration accepts; a configuration with other values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from gelora_cli.config.keys import Key
from gelora_cli.config.paths import slug
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.messages import suggest

LONGEST_NAME = 100
"""Characters of a name: file systems take 255 bytes, and parts of our own are added."""


Keys = TypeVar("Keys", bound=RunConfig)


def with_values(config: Keys, values: Mapping[str, object]) -> Keys:
    """Return the configuration with the values of some keys, given by their full names."""
    for name, value in values.items():
        section, _, last = name.rpartition(".")
        if section:
            changed = replace(getattr(config, section), **{last: value})
            config = replace(config, **{section: changed})
        else:
            config = replace(config, **{last: value})  # type: ignore[arg-type]
    return config


def value_problem(entry: Key, name: str, value: Any) -> str | None:
    """Return what is wrong with a key's value: not one of its words, out of its bounds, or no name of a directory."""
    declared = entry.declared
    accepted = declared.accepted()
    if value is None:
        return None
    if accepted and isinstance(value, list):
        unknown = [word for word in value if word not in accepted]
        return f"{name}={unknown[0]}: not known; {suggest(str(unknown[0]), accepted)}" if unknown else None
    if accepted and value not in accepted:
        return f"{name}={value}: not known; {suggest(str(value), accepted)}"
    if declared.low is not None and not _is_within(value, declared.low, True, declared.high):
        return _bounds_problem(name, value, f"at least {declared.low}", declared.high)
    if declared.above is not None and not _is_within(value, declared.above, False, declared.high):
        return _bounds_problem(name, value, f"above {declared.above}", declared.high)
    return _directory_problem(name, value) if declared.directory else None


def _bounds_problem(name: str, value: float, below: str, high: float) -> str:
    above = "" if high == math.inf else f" and at most {high}"
    return f"{name}={value}: accepted is a number {below}{above}"


def _is_within(value: float, low: float, closed: bool, high: float) -> bool:
    """Return whether a number is finite and between the bounds; an integer that no float can hold is not."""
    try:
        finite = math.isfinite(value)
    except OverflowError:
        return False
    return finite and (low <= value if closed else low < value) and value <= high


def _directory_problem(key: str, name: str) -> str | None:
    """Return what is wrong with a name that becomes a directory: no plain word, it could lead out of `runs_dir`."""
    if name and len(name) > LONGEST_NAME:
        return f"{key}={name}: {len(name)} characters; at most {LONGEST_NAME} are accepted, since it names a directory"
    if not name or slug(name) == name:
        return None
    return (
        f"{key}={name}: letters, digits, '.', '_' and '-' are accepted, since it names a directory; take {slug(name)}"
    )
