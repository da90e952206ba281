"""Between Hydra and the dataclasses of the schema: what Hydra composes, and what comes of it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from gelora_cli.config.entry_section import EntrySection
from gelora_cli.config.literal_text import restore_text
from gelora_cli.config.schema import TrackerConfig, optional_trackers
from gelora_cli.config.typed import in_entry_class
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.plugins import load_plugins

if TYPE_CHECKING:
    from omegaconf import DictConfig

METHOD_KEYS = "method_keys"
"""Hydra's group with the keys of each method; `configs/run.yaml` adds the option that is named as the method."""
METHOD_DEFAULTS = {f"optional {METHOD_KEYS}@method": "${method}"}
"""The entry of a list of defaults which does so."""


def composable(schema: type) -> DictConfig:
    """Return a schema as Hydra composes it.

    A section whose keys an entry declares accepts any key here, since the entry is not known yet. `composed_config`
    gives the section its class, and `value_problems` refuses keys that are not the entry's.
    """
    from omegaconf import OmegaConf

    node = schema_node(schema)
    for name, section in vars(schema()).items():
        if isinstance(section, EntrySection):
            node[name] = schema_node(section.base_class())  # without the keys of the default entry
            OmegaConf.set_struct(node[name], False)
    add_tracker_keys(node)
    return node


def schema_node(schema: type) -> DictConfig:
    """Return the keys of a dataclass with their defaults, as a node of its own."""
    return copy.deepcopy(_built_node(schema))


@functools.cache
def _built_node(schema: type) -> DictConfig:
    """Build a node once: it takes five times as long as a copy, and every override is tried on a node of its own."""
    from omegaconf import OmegaConf

    node: DictConfig = OmegaConf.structured(schema)
    return node


def add_tracker_keys(node: DictConfig) -> None:
    """Add the keys of every tracker with their defaults to a schema that has a section `tracker`."""
    from omegaconf import OmegaConf

    if "tracker" in node:
        node.tracker = {name: OmegaConf.structured(TrackerConfig.of(name)) for name in optional_trackers()}
        OmegaConf.set_struct(node.tracker, True)


def method_node(name: str, settings: type) -> DictConfig:
    """Return the keys of a method with their defaults."""
    from omegaconf import OmegaConf

    node: DictConfig = OmegaConf.structured(settings(name=name), flags={"struct": False})
    return node


def composed_config(composed: DictConfig) -> Any:
    """Return what Hydra composed as the command's dataclass; interpolations in the user's own groups are resolved.

    Plug-ins that it names are loaded: in a process that Hydra started they are not yet.

    Raises:
        GeloraError: an interpolation can't be resolved, a value is missing, or a key is unknown.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config: Any = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise GeloraError(f"the configuration can't be composed: {str(error).splitlines()[0]}") from error
    if getattr(config, "plugins", None) is not None:
        load_plugins(restore_text(config.plugins))
    try:
        config = in_entry_classes(config)
    except ValueError as error:
        raise GeloraError(f"the configuration can't be composed: {error}") from error
    if hasattr(config, "trackers"):
        # The keys of each chosen tracker, and those given for any other, which the checks refuse.
        chosen = {name: config.tracker.get(name) or TrackerConfig.of(name) for name in config.trackers}
        changed = {name: keys for name, keys in config.tracker.items() if keys != TrackerConfig.of(name)}
        config = replace(config, tracker=chosen | changed)
    return restore_text(config)


def in_entry_classes(config: Any) -> Any:
    """Return a configuration whose sections are of the classes that their entries declare (see `in_entry_class`).

    Raises:
        ValueError: an unknown key, or a value of another type, with the key.
    """
    values = {item.name: getattr(config, item.name) for item in fields(config)}
    changed: dict[str, Any] = {
        name: in_entry_class(value, name) for name, value in values.items() if isinstance(value, EntrySection)
    }
    if "tracker" in values:
        trackers: Mapping[str, TrackerConfig] = values["tracker"]
        changed["tracker"] = {name: in_entry_class(value, f"tracker.{name}") for name, value in trackers.items()}
    return replace(config, **changed)
