"""The keys that are searched for a method, and where: `configs/space/NAME.yaml`, checked against the keys of a run.

A file is short: a key, and either its range or the few values that are tried.

    defaults: [common]
    train.learning_rate: {low: 5.0e-5, high: 1.0e-2, log: true}
    method.dropout: {choices: [0.0, 0.1]}
"""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from gelora_cli.config.checks import declared_problems
from gelora_cli.config.key_values import with_values
from gelora_cli.config.keys import Key, keys_of
from gelora_cli.config.schema import RunConfig
from gelora_cli.config.shipped import config_dir
from gelora_cli.core.artifacts.study import SearchedKey, SettingValue
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import read_text
from gelora_cli.core.messages import join_names, suggest
from gelora_cli.core.plugins import loaded_folders

GROUP = "space"
COMMON = "common"
"""The space of a method that has none, and whose family of presets has none."""
LEARNING_RATE = "train.learning_rate"
SEARCHABLE = ("method", "ranks", "profile", "train")
"""Sections whose keys can be searched. Others say what trials are scored on, or what all methods share."""
NAMES_METHOD = "method.name"
NUMBERS = ("low", "high", "log")


def space_file(config: RunConfig, extra: Path | None = None) -> Path:
    """Return the file with the space of a configuration's method.

    The method's own comes first, then that of its family of presets (`method.preset`), then the common one. In each
    the user's folder comes first, then gelora's own, then those of plug-ins.
    """
    folders = [*([extra] if extra else []), config_dir(), *loaded_folders()]
    names = (config.method.name, config.method.preset, COMMON)
    files = [folder / GROUP / f"{name}.yaml" for name in names for folder in folders]
    return next(file for file in files if file.exists())


def read_space(file: Path, readers: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return what a file says of each key, over what the files say that its `defaults` name.

    Args:
        file: the file.
        readers: the files that name it in their `defaults`, the first one first.

    Raises:
        GeloraError: it can't be read, is no mapping, or names a file that is not there or that names it.
    """
    if file in readers:
        chain = " -> ".join(path.name for path in (*readers, file))
        raise GeloraError(f"{file}: defaults name each other ({chain}); take one of them out")
    values = _read(file)
    bases = values.pop("defaults", [])
    if not isinstance(bases, list):
        raise GeloraError(f"{file}: defaults={bases}; give a list of spaces, such as [{COMMON}]")
    merged: dict[str, Any] = {}
    for name in bases:
        if name == "_self_":
            continue
        beside = [file.parent / f"{name}.yaml", config_dir() / GROUP / f"{name}.yaml"]
        base = next((path for path in beside if path.exists() and path != file), None)
        if base is None:
            known = sorted(path.stem for path in (config_dir() / GROUP).glob("*.yaml"))
            raise GeloraError(f"{file}: defaults names {name}; {suggest(str(name), known)}")
        merged |= read_space(base, (*readers, file))
    return merged | values


def parse_space(values: Mapping[str, Any], config: RunConfig, fixed: Sequence[str]) -> tuple[SearchedKey, ...]:
    """Return the searched keys of a method, the learning rate first.

    Args:
        values: what a file says of each key.
        config: the method's configuration, whose keys can be searched.
        fixed: keys that the user gave a value: these are not searched.

    Raises:
        GeloraError: all that is wrong, a line each.
    """
    known = {
        entry.name: entry
        for entry in keys_of(config)
        if entry.section in SEARCHABLE and entry.name != NAMES_METHOD and entry.declared.identity is not False
    }
    problems: list[str] = []
    searched: list[SearchedKey] = []
    for name, given in values.items():
        if name not in known:
            problems.append(f"{name}: unknown key, or one that is not searched; {suggest(name, sorted(known))}")
            continue
        try:
            entry = _searched_key(known[name], given)
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        problems += _value_problems(entry, config)
        if name not in fixed:
            searched.append(entry)
    if LEARNING_RATE not in values:
        problems.append(
            f"{LEARNING_RATE} is not in it, and every space needs it: {{low: 5.0e-5, high: 1.0e-2, log: true}}"
        )
    if problems:
        raise GeloraError("\n".join(problems))
    return tuple(sorted(searched, key=lambda entry: entry.key != LEARNING_RATE))


def parsed_choice(text: str) -> SettingValue:
    """Return the value that a text stands for, as YAML reads it."""
    return cast(SettingValue, yaml.safe_load(text))


def _read(file: Path) -> dict[str, Any]:
    if file.is_dir():
        raise GeloraError(f"{file} is a directory; give a YAML file with the searched keys")
    try:
        values = yaml.safe_load(read_text(file, "a search space")) or {}
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:200]
        raise GeloraError(f"{file} is no YAML: {reason}") from error
    if not isinstance(values, dict):
        raise GeloraError(f"{file} is no search space; accepted: KEY: {{low: 1.0e-4, high: 1.0e-2, log: true}}")
    return {str(name): given for name, given in values.items()}


def _searched_key(entry: Key, given: Any) -> SearchedKey:
    """Return a searched key.

    Raises:
        ValueError: what is wrong with its range or its choices.
    """
    accepted = "accepted: {low: NUMBER, high: NUMBER, log: true} or {choices: [VALUE, VALUE]}"
    if not isinstance(given, dict) or not given:
        raise ValueError(f"{given} is no range; {accepted}")
    if "choices" in given:
        choices = given["choices"]
        if len(given) > 1 or not isinstance(choices, list) or len(choices) < 2:
            raise ValueError(f"{given}: two choices or more, and nothing else; {accepted}")
        texts = tuple(_choice_text(entry, choice) for choice in choices)
        if len(set(texts)) < len(texts):
            raise ValueError(f"{given}: a choice is there twice; give each once")
        return SearchedKey(entry.name, None, None, choices=texts)
    unknown = sorted(set(map(str, given)) - set(NUMBERS))
    if unknown or not {"low", "high"} <= set(given):
        raise ValueError(
            f"{join_names(unknown) or 'low or high'} {'is unknown' if unknown else 'is missing'}; {accepted}"
        )
    low, high, log = _number(given["low"]), _number(given["high"]), given.get("log", False)
    kinds = set(entry.types())
    if not kinds & {int, float}:
        raise ValueError(f"it takes no number; {accepted}")
    if not isinstance(log, bool):
        raise ValueError(f"log={log}; accepted: true, false")
    if low >= high:
        raise ValueError(f"low={low:g} is not below high={high:g}")
    if log and low <= 0:
        raise ValueError(f"low={low:g}: a logarithmic scale needs a number above 0")
    integer = float not in kinds
    if integer and not (low.is_integer() and high.is_integer()):
        raise ValueError(f"low={low:g} high={high:g}: it takes whole numbers")
    return SearchedKey(entry.name, low, high, log=log, integer=integer)


def _number(value: Any) -> float:
    """Return a number of a range.

    Raises:
        ValueError: it is none; YAML reads 1e-4 as a text.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{value} is no number; write 1.0e-4 or 0.0001")
    return number


def _choice_text(entry: Key, choice: Any) -> str:
    """Return a choice as a user writes it behind `KEY=`.

    Raises:
        ValueError: the key accepts no such value.
    """
    if isinstance(choice, int) and not isinstance(choice, bool) and float in entry.types() and int not in entry.types():
        choice = float(choice)
    kinds = [kind for kind in entry.types() if kind is not type(None)]  # null is no value: a preset gives one
    if choice is None or (type(choice) not in kinds and entry.kind is not Any):
        names = join_names(getattr(kind, "__name__", str(kind)) for kind in kinds)
        raise ValueError(f"{choice} is {type(choice).__name__}; accepted: {names}")
    return str(yaml.safe_dump(choice, explicit_end=False).removesuffix("\n...\n").strip())


def _value_problems(entry: SearchedKey, config: RunConfig) -> list[str]:
    """Return what the declaration of a key refuses of the ends of its range, or of its choices."""
    values: Sequence[SettingValue]
    if entry.choices:
        values = [parsed_choice(text) for text in entry.choices]
    else:
        ends = typing.cast(tuple[float, float], (entry.low, entry.high))
        values = [int(end) for end in ends] if entry.integer else ends
    problems = []
    for value in values:
        problems += [
            problem
            for problem in declared_problems(with_values(config, {entry.key: value}))
            if problem.startswith(f"{entry.key}=")
        ]
    return problems
