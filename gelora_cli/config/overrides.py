"""Hydra overrides checked before Hydra composes them, so that every mistake is named at once with the nearest name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

import yaml

from gelora_cli.config.groups import option_file
from gelora_cli.config.keys import declared_keys
from gelora_cli.config.literal_text import protect_text, restore_text
from gelora_cli.config.override_values import ValueCheck
from gelora_cli.config.schema import LaunchConfig, command_keys
from gelora_cli.config.shipped import config_dir
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import expand_home
from gelora_cli.core.plugins import load_plugins

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

NOT_AN_OVERRIDE = (
    "not an override; accepted is key=value, such as task=cola or train.epochs=3; quote values that hold a comma, = or "
    "a space: 'data.glue=\"/my data\"'"
)

CHOOSING = {"method": "method", "launch": "launch", "launch.launcher": "launch"}
"""Each key or group that chooses an entry, with the section whose keys that entry declares."""


def override_problems(
    config_name: str,
    overrides: list[str],
    extra: Path | None,
    *,
    multirun: bool = True,
    shows_config: bool = False,
) -> tuple[list[str], list[str]]:
    """Return what is wrong with the overrides, and those with nothing wrong in a form that Hydra can parse.

    `extra` is a folder of the user's own groups. Without `multirun` a key takes one value, and with `shows_config` the
    message does not advise `-m`, which `--cfg` excludes.
    """
    lists = _list_keys(config_name)
    overrides = [_tracker_list(text) if "trackers" in lists else text for text in overrides]
    parsed = [(text, *_parsed(_as_list(protect_text(text), lists, multirun=multirun))) for text in overrides]
    check = ValueCheck(config_name, extra, _chosen_entries([override for _, _, override in parsed], extra))
    problems: list[str] = []
    good: list[str] = []
    for text, readable, override in parsed:
        if multirun and (advice := _list_advice(text, lists)):
            problems.append(advice)
        elif override is None:
            problems.append(f"{text}: {_quoting_advice(text) or NOT_AN_OVERRIDE}")
        elif wrong := _override_problems(check, override, multirun=multirun, shows_config=shows_config):
            problems += restore_text(wrong)
        else:
            good.append(readable)
    return problems, good


def replaced_values(overrides: Iterable[str]) -> Iterator[str]:
    """Say of each key or group that has several values which one counts: Hydra takes the last without a word."""
    values: dict[str, list[str]] = {}
    for text in overrides:
        key, _, value = text.lstrip("+~").partition("=")
        values.setdefault(key, []).append(value)
    for key, given in values.items():
        if len(set(given)) > 1 and key.split(".")[0].split("/")[0] != "hydra":
            yield f"{' '.join(f'{key}={value}' for value in given)}: the last one counts"


def _list_keys(config_name: str) -> set[str]:
    """Return the keys of a command that take a list."""
    return {entry.name for entry in declared_keys(command_keys(config_name)) if get_origin(entry.kind) is list}


def _tracker_list(text: str) -> str:
    """Return `tracker=NAME` as the list of trackers that it names; `none`, or no name, is the empty one."""
    name, equals, value = text.partition("=")
    if name != "tracker" or not equals:
        return text
    return "trackers=[]" if value in ("", "none", "null", "[none]") else f"trackers={value}"


def _as_list(text: str, lists: set[str], *, multirun: bool) -> str:
    """Return `key=a,b` of a key that takes a list as `key=[a,b]`: shells have a meaning of their own for brackets.

    In a sweep a comma stands between the values of its jobs, so that only a single word becomes a list.
    """
    name, _, value = text.partition("=")
    if name not in lists or not value or value == "null" or value[0] in "[{(" or (multirun and "," in value):
        return text
    listed = f"{name}=[{value}]"
    return text if _parsed(listed)[1] is None else listed


def _list_advice(text: str, lists: set[str]) -> str:
    """Return how to write `key=a,b` of a key that takes a list in a sweep; empty where nothing is wrong."""
    name, _, value = text.partition("=")
    if name not in lists or "," not in value or "[" in value or "(" in value:
        return ""
    each = ",".join(f"[{item}]" for item in value.split(","))
    return f"{text}: -m needs brackets: '{name}=[{value}]' for every job, or '{name}={each}' for one job each"


def load_named_plugins(overrides: list[str]) -> list[str]:
    """Load the plug-ins that overrides name, and return the override by which Hydra finds their YAML files.

    They are loaded before anything is checked, since the names in other overrides may be theirs.

    Raises:
        GeloraError: they are not there, an entry lacks a part, or a YAML file has the name of a shipped one.
    """
    named = [text.partition("=")[2].strip("'\"") for text in overrides if text.startswith("plugins=")]
    if not named or named[-1] in ("", "null"):
        return []
    source = load_plugins(named[-1])
    if not source.root.is_dir():  # a single installed module has no YAML files
        return []
    _refuse_shipped_names(source.root)
    quoted = str(source.root).replace("'", "\\'")
    return [f"hydra.searchpath=['file://{quoted}']"]


def _refuse_shipped_names(folder: Path) -> None:
    """Refuse a plug-in's YAML file that Hydra would ignore, since one that gelora ships has its name.

    Raises:
        GeloraError: naming the file.
    """
    for path in sorted(folder.glob("*/*.yaml")):
        name = path.relative_to(folder)
        if (config_dir() / name).exists():
            raise GeloraError(f"plugins={folder}: {name} has the name of a file that gelora ships; rename it")


def _parsed(text: str) -> tuple[str, Any]:
    """Return an override's text in a form that Hydra parses, and parsed; None for one that it can't parse.

    Hydra knows few characters outside quotes: a value such as `~/runs` or `/home/josé` is quoted where it needs it. A
    leading `~` is the home directory, as in a shell.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for candidate in (text, _quoted(text)):
        try:
            return candidate, parser.parse_override(candidate)
        except (HydraException, ValueError):  # ValueError: an integer of more digits than Python reads
            continue
    return text, None


def _quoted(text: str) -> str:
    """Put an override's value into quotes, unless it has quotes or a structure of its own."""
    key, equals, value = text.partition("=")
    if not equals or re.search(r"[\'\"\[\]{},$\\]", value) or not re.fullmatch(r"[+]{0,2}[\w./@:-]+", key):
        return text
    return f"{key}='{expand_home(value)}'"


def _quoting_advice(text: str) -> str:
    """Return how to write an override whose value holds brackets or quotes; nothing where quotes don't help."""
    key, _, value = text.partition("=")
    escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + ("\\" + found[2] if found[2] else ""), value)
    quoted = f'{key}="{escaped}"'
    _, override = _parsed(protect_text(quoted))
    if override is None or not value or restore_text(override.value()) != value:
        return ""
    return f"its value holds characters with a meaning of their own; quote it: {shlex.quote(quoted)}"


def _override_problems(check: ValueCheck, override: Override, *, multirun: bool, shows_config: bool) -> list[str]:
    """Return what is wrong with one override, whatever it sweeps over."""
    key = override.key_or_group
    if key.split(".")[0].split("/")[0] == "hydra":
        return []
    if override.is_delete():
        return [f"~{key}: no key can be removed; leave it out to have its default, or give {key}=VALUE"]
    if not override.is_sweep_override():
        return check.problems(key, override.value())
    if not multirun:
        line = override.input_line or key  # what was parsed has a line
        swept = line.partition("=")[2]
        if shows_config:
            advice = f"several values, but --cfg shows the configuration of one job; give one value of {key}"
        else:
            advice = "several values are a sweep, which needs -m (of gelora run, profile and train)"
        return [f"{line}: {advice}; if this is one value, quote it: '{key}=\"{swept}\"'"]
    values = _swept_values(override)
    if not values and override.is_discrete_sweep():  # an interval is for a sweeper of the user's own
        line = override.input_line or key
        return [f"{line}: it names no value, so that no job is left; list the values, such as {key}=one,other"]
    return [problem for value in values for problem in check.problems(key, value)]


def _swept_values(override: Override) -> list[Any]:
    """Return the values that an override sweeps over; none of a range without steps, and of a pattern (`glob`)."""
    from hydra.core.override_parser.types import ValueType

    if override.value_type is ValueType.GLOB_CHOICE_SWEEP or not override.is_discrete_sweep():
        return []
    return list(override.sweep_iterator())


def _chosen_entries(overrides: Iterable[Override | None], extra: Path | None) -> dict[str, list[str]]:
    """Return the methods and launchers that overrides choose, by the section; several where a sweep does."""
    chosen: dict[str, list[str]] = {}
    for override in overrides:
        if override is None or override.is_delete() or override.key_or_group not in CHOOSING:
            continue
        values = _swept_values(override) if override.is_sweep_override() else [override.value()]
        names = [
            _launcher_of(str(value), extra) if override.key_or_group == "launch" else str(value) for value in values
        ]
        if names:  # a sweep without values is refused elsewhere
            chosen.setdefault(CHOOSING[override.key_or_group], []).extend(names)
    return chosen


def _launcher_of(option: str, extra: Path | None) -> str:
    """Return the launcher that an option of the group `launch` names; the option's own name where none is said."""
    path = extra / "launch" / f"{option}.yaml" if extra else None
    if path is None or not path.exists():
        path = option_file("launch", option)
    if path is None:
        return option
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):  # Hydra says what is wrong with it
        return option
    return str(values.get("launcher", LaunchConfig().launcher)) if isinstance(values, dict) else option
