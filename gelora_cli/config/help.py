"""A command's keys as `--help` shows them, from their declarations: default, accepted values, one line each."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from gelora_cli.config.defaults import default_options, resolved_defaults, schema_defaults
from gelora_cli.config.groups import group_choices, groups
from gelora_cli.config.keys import Key, keys_of, section_help, written_value
from gelora_cli.config.overrides import load_named_plugins
from gelora_cli.config.schema import command_keys, takes_run_keys, tracker_keys
from gelora_cli.core.errors import GeloraError

LEFT = 34
"""Columns of `key=default`; what is longer has its line to itself."""
NARROWEST = 60
FIRST = (
    *("signals", "profile", "budget", "seed", "model.path", "data", "method", "train", "runs_dir"),
    *("precision", "protocol", "launch"),
)
"""Keys and sections of a run that come first, in this order; the others follow as they are declared."""


def key_lines(
    config_name: str,
    overrides: Iterable[str] = (),
    *,
    everything: bool = False,
    shown: Collection[str] = (),
    hidden: Collection[str] = (),
    width: int = 100,
    extra: Path | None = None,
) -> list[str]:
    """Return the lines of help on the groups and keys of a command.

    Args:
        config_name: the command's configuration, `run` or the name of a command with keys of its own.
        overrides: those beside `--help`; the options of groups among them (`task=cola`) decide the defaults shown.
            The plug-ins among them are loaded.
        everything: all keys instead of the common ones.
        shown: keys that this command shows beside the common ones.
        hidden: keys that this command does not show.
        width: columns to wrap at.
        extra: a folder of the user's own groups.
    """
    width, overrides = max(width, NARROWEST), list(overrides)
    load_named_plugins(overrides)  # first: they may bring groups, options and keys
    options = dict(default_options(config_name))
    for name, equals, value in (text.partition("=") for text in overrides):
        if equals and name in groups(config_name):
            options[name] = value
    config = _config_of_options(config_name, options)
    entries = [entry for entry in keys_of(config) if _can_be_given(entry) and entry.name not in hidden]
    lines: list[str] = []
    if options:
        lines += ["groups, each with an option of its own:", *_group_lines(config_name, options, width, extra), ""]
    common = [entry for entry in entries if entry.declared.common or entry.name in shown]
    if takes_run_keys(config_name):
        common.sort(key=_sort_position)
    rest = [entry for entry in entries if entry not in common]
    heading = "keys, with their defaults:"
    if takes_run_keys(config_name):  # whose defaults depend on these three
        chosen = " ".join(f"{name}={options[name]}" for name in ("task", "model", "method") if name in options)
        heading = f"keys, with their defaults for {chosen}:" if chosen else heading
    lines += [*textwrap.wrap(heading, width), *_key_lines(common, config, width)]
    if everything:
        for name, what in section_help(command_keys(config_name)).items():
            inside = [entry for entry in rest if entry.section == name]
            if inside:
                lines += ["", f"{name}: {what}", *_key_lines(inside, config, width)]
        if takes_run_keys(config_name) and tracker_keys():
            lines += ["", *textwrap.wrap("tracker: keys of what tracker=NAME or tracker=[NAME,NAME] names", width)]
            for entry in tracker_keys():
                lines += _entry(f"{entry.name}={written_value(entry.default)}", _describe_key(entry), width)
    elif rest:
        sections = dict.fromkeys(f"{entry.section}.*" for entry in rest)
        lines += ["", *textwrap.wrap(f"{len(rest)} more keys ({', '.join(sections)}): --help all", width)]
    return lines


def _config_of_options(config_name: str, options: Mapping[str, str]) -> Any:
    """Return the configuration whose values help shows as defaults."""
    without_experiment = {name: value for name, value in options.items() if name != "experiment"}
    try:
        return resolved_defaults(config_name, without_experiment)
    except GeloraError:  # an option of the user's own group, which is not read here
        return schema_defaults(config_name)


def _can_be_given(entry: Key) -> bool:
    """Return whether a key can be given: not the name of a group's option, nor what gelora alone sets."""
    if entry.declared.internal or entry.last == "presets":
        return False
    return not (entry.last == "name" and entry.section in ("model", "method"))


def _group_lines(config_name: str, options: Mapping[str, str], width: int, extra: Path | None) -> list[str]:
    lines: list[str] = []
    for group in groups(config_name):
        choices = group_choices(group, extra)
        if len(choices) > 1 or group == "experiment":
            chosen = f"{group}={options.get(group, 'null')}"
            lines += _entry(chosen, ", ".join(choices), width)
    return lines


def _sort_position(entry: Key) -> int:
    """Return where a common key stands: by its own name before that of its section."""
    for name in (entry.name, entry.section):
        if name in FIRST:
            return FIRST.index(name)
    return len(FIRST)


def _key_lines(entries: Iterable[Key], config: object, width: int) -> list[str]:
    lines: list[str] = []
    for entry in entries:
        lines += _entry(f"{entry.name}={written_value(entry.value_in(config))}", _describe_key(entry), width)
    return lines


def _entry(left: str, right: str, width: int) -> list[str]:
    """Return `left` in one column and `right`, wrapped, in the next."""
    indent = " " * (LEFT + 2)
    wrapped = textwrap.wrap(right, width, initial_indent=indent, subsequent_indent=indent)
    if len(left) < LEFT:
        return [f"  {left:<{LEFT}}{wrapped[0].strip()}", *wrapped[1:]] if wrapped else [f"  {left}"]
    return [f"  {left}", *wrapped]


def _describe_key(entry: Key) -> str:
    """Return a key's line of help with what it accepts."""
    declared = entry.declared
    accepted = ", ".join(declared.accepted()) or _limits(declared.low, declared.above, declared.high)
    return f"{declared.help} ({accepted})" if accepted else declared.help


def _limits(low: float | None, above: float | None, high: float) -> str:
    """Return the bounds of a number in words; empty where it has none."""
    if low is None and above is None:
        return ""
    if low is None:
        return f"above {above:g}" if high == math.inf else f"above {above:g}, at most {high:,g}"
    return f"at least {low:,g}" if high == math.inf else f"{low:,g} to {high:,}"
