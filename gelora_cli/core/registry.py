"""Registries: each name has one object that says everything about a method, an allocator, a task kind, a metric, ...

A registry knows a built-in entry by the name of the module that registers it, and imports that module when the entry
is first asked for. So a list of names costs no import, and a low package can ask for an entry of a higher one.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Generic, TypeVar

from gelora_cli.core.entry_checks import missing_parts, wrong_parts
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import quote, suggest

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Entries of one kind by name, in the order of their declaration.

    Args:
        what: how a message calls an entry, such as `method`.
        base: `module:Class`, which every entry subclasses.
        modules: name of a built-in entry to the module that registers it.
    """

    def __init__(self, what: str, base: str, modules: Mapping[str, str]) -> None:
        self.what, self._base, self._modules = what, base, dict(modules)
        self._entries: dict[str, Entry] = {}

    def names(self) -> tuple[str, ...]:
        """Return every name, the built-in ones first; nothing is imported."""
        return tuple(dict.fromkeys([*self._modules, *self._entries]))

    def position(self, name: str) -> int:
        """Return the position of a name in the order; an unknown name comes after all others."""
        names = self.names()
        return names.index(name) if name in names else len(names)

    def __contains__(self, name: object) -> bool:
        return name in self._modules or name in self._entries

    def get(self, name: str) -> Entry:
        """Return the entry of this name, importing its module on first use.

        Raises:
            GeloraError: there is no such entry, or its module registers none.
        """
        if name not in self:
            raise GeloraError(f"{self.what} {name} is not known; {suggest(name, self.names())}")
        if name not in self._entries:
            importlib.import_module(self._modules[name])
        if name not in self._entries:  # the module was imported before, or registers another name
            raise GeloraError(f"{self._modules[name]} registers no {self.what} named {name}")
        return self._entries[name]

    def register(self, entry: type[Entry]) -> type[Entry]:
        """Build the entry of this class and store it under its `name`: a class decorator.

        Raises:
            GeloraError: the class is of another kind, leaves a part out or gives it another type, or has a name in use.
        """
        if not isinstance(entry, type):
            raise GeloraError(f"{quote(entry)} is registered as a {self.what}; accepted: a subclass of {self._base}")
        where = f"{_file_of(entry.__module__)}: class {entry.__qualname__}"
        module, _, base_name = self._base.partition(":")
        base: type = getattr(importlib.import_module(module), base_name)
        if not issubclass(entry, base):
            raise GeloraError(f"{where} is registered as a {self.what} but is no subclass of {self._base}")
        if missing := missing_parts(entry):
            raise GeloraError(f"{where} is an incomplete {self.what}: it lacks {', '.join(missing)}")
        if wrong := wrong_parts(entry, base):
            raise GeloraError(f"{where}: {'. '.join(wrong)}")
        # The class's own name comes before one that it inherits from an entry that it extends.
        name: str = vars(entry).get("name") or entry.name  # type: ignore[attr-defined]
        owner = self._owner(name)
        known = self._entries.get(name)
        # A module that is imported a second time, as by a test, may register its own class again.
        is_other_class = known is not None and type(known).__qualname__ != entry.__qualname__
        if is_other_class or owner not in ("", entry.__module__):
            other_file = _file_of(owner)
            raise GeloraError(
                f"{where}: the name {name} of a {self.what} is in use by {other_file}; give it another one"
            )
        self._entries[name] = entry()
        return entry

    def _owner(self, name: str) -> str:
        """Return the module that registers the entry of this name; empty if there is none."""
        if name in self._entries:
            return type(self._entries[name]).__module__
        return self._modules.get(name, "")


def _file_of(module: str) -> str:
    """Return the file of a module, which a user knows; its name if it has no file or is not imported."""
    return getattr(sys.modules.get(module), "__file__", None) or module
