"""What is wrong with one value of an override, before anything is composed."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gelora_cli.config.composing import add_tracker_keys, schema_node
from gelora_cli.config.entry_section import EntrySection
from gelora_cli.config.groups import group_choices, groups
from gelora_cli.config.keys import Key, declared_keys, written_value
from gelora_cli.config.schema import command_keys, takes_run_keys, tracker_keys
from gelora_cli.core.files import expand_home
from gelora_cli.core.messages import first_line, join_names, suggest
from gelora_cli.core.registries import METHODS

LARGEST_INTEGER = 2**63 - 1
"""What numpy's and torch's integers hold."""
ACCEPTED_VALUES: dict[Any, str] = {
    float: "a number, such as 2e-4",
    int: "a whole number, such as 3",
    bool: "true or false",
    str: "a text",
    list: "a list, such as [one,other]",
    dict: "a mapping, such as {name: value}",
}
"""What each type of a key accepts, in words."""
MISSING = "???"
"""What YAML and Hydra write for a value that is yet to be given."""


def keys(schema: type, sections: Mapping[str, type] | None = None) -> Iterator[str]:
    """Yield every key of a schema that a user may give, dotted; `sections` as in `declared_keys`."""
    yield from (entry.name for entry in declared_keys(schema, sections) if not entry.declared.internal)


@dataclass(frozen=True)
class ValueCheck:
    """Checks the values of a command's keys and groups.

    Args:
        config_name: the command's configuration.
        extra: a folder of the user's own groups.
        chosen: name of a section to the entries that the overrides choose for it, such as the methods of `method`.
    """

    config_name: str
    extra: Path | None = None
    chosen: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def problems(self, key: str, value: object) -> list[str]:
        """Return what is wrong with one value of a key or group."""
        if _holds_missing(value):
            return [f"{key}={value}: {MISSING} stands for a value that is missing; give one"]
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            digits = len(str(abs(value)))
            return [f"{key}={value}: an integer of {digits} digits; at most {LARGEST_INTEGER} is accepted"]
        if key in groups(self.config_name):
            return _option_problem(key, value, group_choices(key, self.extra))
        if isinstance(value, str) and self._is_path(key) and (problem := _path_problem(key, value)):
            return [problem]
        if isinstance(value, list) and any(isinstance(item, list | dict) for item in value):
            return [f"{key}={value}: a list within a list; accepted is a plain list, such as {key}=[one,other]"]
        return self._key_problems(key, value)

    def _is_path(self, key: str) -> bool:
        """Return whether the value of a key is a path, or may be one."""
        entries = declared_keys(command_keys(self.config_name), self._sections(key))
        if key.startswith("tracker."):
            entries = tracker_keys()
        return any(entry.declared.path for entry in entries if entry.name == key)

    def _sections(self, key: str) -> dict[str, type]:
        """Return the class of each section whose keys an entry declares: of a chosen entry, else of any with the key.

        A key of an entry that was not chosen is checked here as well. That the chosen entry lacks it is said once the
        configuration is composed, with all else that is wrong with it.
        """
        sections: dict[str, type] = {}
        for name, section in vars(command_keys(self.config_name)()).items():
            if isinstance(section, EntrySection):
                chosen = [section.class_of(entry) for entry in self.chosen.get(name, [section.entry])]
                classes = [*chosen, *(section.class_of(entry) for entry in section.registry.names())]
                setting = key.removeprefix(f"{name}.").split(".")[0]
                having = [declared for declared in classes if setting in declared.__dataclass_fields__]
                sections[name] = (having or chosen)[0]
        return sections

    def _key_problems(self, key: str, value: object) -> list[str]:
        """Return what the schema refuses of a key and its value."""
        from omegaconf import OmegaConf
        from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

        sections = self._sections(key)
        if _is_below_a_value(command_keys(self.config_name), key):
            return [f"{key}={value}: unknown key; {key.rpartition('.')[0]} takes a value and has no keys of its own"]
        config = schema_node(command_keys(self.config_name))
        for name, section in sections.items():
            config[name] = schema_node(section)
        if key.startswith("tracker."):
            add_tracker_keys(config)
        try:
            OmegaConf.update(config, key, value, force_add=False)
        except (ConfigKeyError, ConfigAttributeError):
            return [f"{key}={value}: unknown key; {self._near_keys(key, sections)}"]
        except (OmegaConfBaseException, OverflowError) as error:
            if value is None and key.startswith("method."):
                name = self.chosen.get("method", [OmegaConf.select(config, "method.name")])[0]
                return [f"{key}=null: method={name} needs it; leave the key out to have the method's own"]
            default = OmegaConf.select(config, key)
            note = f"; the default is {written_value(default)}" if default not in (None, "") else ""
            given = value if isinstance(value, float) else written_value(value)  # 3.0 is no whole number, 3 is one
            entry = self._entry(key, sections)
            problem = f"accepted is {_accepted_value(entry)}" if entry else first_line(error)
            return [f"{key}={given}: {problem}{note}"]
        return []

    def _entry(self, key: str, sections: Mapping[str, type]) -> Key | None:
        """Return the declaration of a key; None for a section."""
        known = [*declared_keys(command_keys(self.config_name), sections), *tracker_keys()]
        return next((entry for entry in known if entry.name == key), None)

    def _near_keys(self, key: str, sections: Mapping[str, type]) -> str:
        """Return the nearest key, and the keys of the same section (or the sections and groups)."""
        known = list(keys(command_keys(self.config_name), sections))
        if takes_run_keys(self.config_name):
            known += [entry.name for entry in tracker_keys()]
        section = key.rpartition(".")[0]
        siblings = [name for name in known if section and name.rpartition(".")[0] == section]
        if not siblings:
            first_parts = {name.split(".")[0] for name in known}
            siblings = sorted(first_parts.union(groups(self.config_name)))
        close = difflib.get_close_matches(key, [*known, *groups(self.config_name)], n=1, cutoff=0.6)
        return (f"did you mean {close[0]}? " if close else "") + f"accepted: {join_names(siblings)}"


def _accepted_value(entry: Key) -> str:
    """Return what the type of a key accepts, in words."""
    words = [f"one of {join_names(entry.declared.accepted())}"] if entry.declared.accepted() else []
    for kind in entry.types() if typing.get_origin(entry.kind) not in (list, dict) else (entry.kind,):
        words += [ACCEPTED_VALUES[origin]] if (origin := typing.get_origin(kind) or kind) in ACCEPTED_VALUES else []
    if entry.declared.accepted():  # more than "a text"
        words = [word for word in words if word != ACCEPTED_VALUES[str]]
    if int in entry.types() and float in entry.types():
        words.remove(ACCEPTED_VALUES[int])
    return ", or ".join([*words, *(["null"] if entry.is_optional else [])])


def _option_problem(group: str, value: object, choices: list[str]) -> list[str]:
    """Return what is wrong with the option of a group."""
    if value is None:
        return [f"{group}=null: one option is needed; {suggest('', choices)}. Leave it out to have the default"]
    if str(value) in choices:
        return []
    if group == "method" and value in METHODS:  # a plug-in registers it
        return [f"method={value}: its settings are missing; add {value}.yaml to method/ of the plug-ins: name: {value}"]
    return [f"{group}={value}: unknown {group}; {suggest(str(value), choices)}"]


def _path_problem(key: str, value: str) -> str:
    """Return what is wrong with a path before anything looks for it; empty where nothing is."""
    if not value:
        return f"{key}= is empty: give a path, or leave it out to have the default"
    if expand_home(value).startswith("~"):
        user = value.partition("/")[0]
        return f"{key}={value}: there is no home directory {user}; write the path out, or ./{value} for one here"
    return ""


def _holds_missing(value: object) -> bool:
    """Return whether a value, or any in it, is the mark of one that is missing."""
    if isinstance(value, list):
        return any(map(_holds_missing, value))
    if isinstance(value, dict):
        return any(map(_holds_missing, value.values()))
    return isinstance(value, str) and value == MISSING


def _is_below_a_value(schema: type, key: str) -> bool:
    """Return whether the key is `a.b` where `a` is a key that takes a value, such as a number or a text."""
    kind: Any = schema
    for part in key.split(".")[:-1]:
        if not dataclasses.is_dataclass(kind):
            return False
        hints = typing.get_type_hints(kind)
        if part not in hints:
            return False
        kind = hints[part]
    return not dataclasses.is_dataclass(kind) and typing.get_origin(kind) is not dict  # `tracker` is a mapping
