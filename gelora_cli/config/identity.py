"""Which run a configuration is: the settings that can change a number, and the hashes over them.

Which key counts is declared beside it (`identity`, `absent`, `profile` in `schema.py` and `*_schema.py`); here is
only what depends on other keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

from gelora_cli.config.entry_section import EntrySection
from gelora_cli.config.keys import Key, declared_keys, keys_of
from gelora_cli.config.schema import ProfileConfig, RunConfig
from gelora_cli.core.budget import Budget, parse_budget
from gelora_cli.core.registries import METHODS, SIGNALS, TASK_KINDS

NUMERICS = 2
"""The version of a run's arithmetic, part of its identity: raised when the same configuration would train to other
numbers, so that older runs stay readable but never count as done and are never averaged with newer ones."""

MEASUREMENT = 2
"""Raised when the same text and settings would profile to other numbers: saved profiles are then not reused."""

NO_INPUT = ("method", "budget", "seed", "train", "profile", "ranks", "preset_source", "preset_trials")
"""Keys and sections that a run's model and data don't depend on."""

WINDOW_KEYS = {"task.stride", "task.max_question_length"}
"""Keys that change a profile only if the task's kind reads contexts in windows."""


def identity_hash(config: RunConfig, fingerprints: dict[str, str]) -> str:
    """Return eight hex digits over exactly what can change a number of this run."""
    # Every directory of a run is named by this text: its form can't change without a change of all their names.
    text = json.dumps(identity_values(config) | {"fingerprints": fingerprints}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def identity_values(config: RunConfig) -> dict[str, Any]:
    """Return the settings that can change a number of this run, beside what model and data hold.

    What `init_from` merges into the model is in the model's fingerprint.
    """
    budget = parse_budget(config.budget)
    ignored = _without_effect(config, budget)
    counted = [
        entry
        for entry in keys_of(config)
        if entry.declared.identity is not False
        and entry.name not in ignored
        and entry.section not in ignored
        and entry.value_in(config) not in entry.declared.absent
    ]
    values: dict[str, Any] = {}
    for name, value in _named(config, counted):  # a section becomes a mapping of its own
        section, _, last = name.rpartition(".")
        holder = values.setdefault(section, {}) if section else values
        holder[last] = value
    if "budget" in values:
        values["budget"] = budget.name  # several spellings are one budget
    values["numerics"] = NUMERICS
    return values


def shared_inputs(config: RunConfig) -> str:
    """Return a text that is the same for configurations with the same model and data."""
    return repr([getattr(config, item.name) for item in fields(config) if item.name not in NO_INPUT])


def profile_inputs(config: RunConfig, model: str, text: str) -> dict[str, Any]:
    """Return what a profile depends on: model, text, lengths (and windows), its settings."""
    ignored = set() if TASK_KINDS.get(config.task.kind).has_windows else WINDOW_KEYS
    counted = [
        entry
        for entry in keys_of(config)
        if entry.declared.profile and entry.name not in ignored and entry.value_in(config) not in entry.declared.absent
    ]
    values: dict[str, Any] = {"measurement": MEASUREMENT, "model": model, "text": text}
    for name, value in _named(config, counted):
        values[name.rpartition(".")[2]] = value
    return values


def profile_values(profile: ProfileConfig) -> dict[str, Any]:
    """Return the settings of a profile that can change a number of it; tracking only observes."""
    counted = {entry.name for entry in declared_keys(ProfileConfig) if entry.declared.profile}
    return {name: value for name, value in asdict(profile).items() if name in counted}


def _without_effect(config: RunConfig, budget: Budget) -> set[str]:
    """Return the keys and sections that change no number of this run, given its other keys."""
    sections = vars(config).items()
    ignored = {name for name, value in sections if isinstance(value, EntrySection) and not value.changes_numbers}
    if config.protocol != "split":
        ignored.add("task.split")
    if config.ranks.path is not None:  # ranks, scaling and modules are the saved plan's
        return ignored | {"profile", "ranks", "budget", "method.scaling", "method.modules"}
    if config.method.name not in METHODS:  # a plug-in's that is not loaded, as where runs are listed
        return ignored
    method = METHODS.get(config.method.name)
    if method.exempt:
        ignored.add("budget")
    ignored |= _unread_profile_keys(method.signals(budget))
    if not (method.allocator or method.signals(budget)):
        ignored.add("ranks")
    if not method.depends_on_modules(budget):
        ignored.add("method.modules")
    return ignored


def _unread_profile_keys(signals: Iterable[str]) -> set[str]:
    """Return the keys of `profile` that change no number of these signals."""
    read: set[str] = set()
    for name in signals:
        signal = SIGNALS.get(name)
        read |= {*signal.settings}
        if not signal.is_built_in:  # runs with a plug-in's signal have always counted the keys of the idim profile
            read |= {entry.name for entry in declared_keys(RunConfig) if entry.declared.profile}
    return {entry.name for entry in declared_keys(ProfileConfig, prefix="profile.") if entry.name not in read}


def _named(config: RunConfig, counted: Iterable[Key]) -> list[tuple[str, Any]]:
    """Return each name in the identity with its value; keys that share a name form a list in their order."""
    by_name: dict[str, list[Any]] = {}
    for entry in counted:
        name = entry.declared.identity if isinstance(entry.declared.identity, str) else entry.name
        by_name.setdefault(name, []).append(entry.value_in(config))
    return [(name, values[0] if len(values) == 1 else values) for name, values in by_name.items()]
