"""Registries: by name, the one object that says everything about a method, an allocator, a task kind, a metric, ...

A built-in entry stands here as the module that registers it, imported when the entry is first asked for: a list of
names costs no import, and a package low in the order can ask for an entry of a higher one without importing it.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from gelora_cli.core.errors import GeloraError

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Entries of one kind by name, in the order in which they are declared.

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

    def place(self, name: str) -> int:
        """Return where a name stands in the order; one that is not known comes after all others."""
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
            near = difflib.get_close_matches(name, self.names(), n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise GeloraError(f"{self.what} {name} is not known; {hint}accepted: {', '.join(self.names())}")
        if name not in self._entries:
            importlib.import_module(self._modules[name])
        if name not in self._entries:
            raise GeloraError(f"{self._modules[name]} registers no {self.what} named {name}")
        return self._entries[name]

    def register(self, entry: type[Entry]) -> type[Entry]:
        """Build an entry of this class and keep it under its `name`: a class decorator.

        Raises:
            GeloraError: the class is of another kind, leaves something out, or takes a name that is in use.
        """
        where = f"{entry.__module__}.{entry.__qualname__}"
        module, _, base_name = self._base.partition(":")
        base: type = getattr(importlib.import_module(module), base_name)
        if not issubclass(entry, base):
            raise GeloraError(f"{where} is registered as a {self.what} but is no subclass of {self._base}")
        if lacking := _lacking(entry):
            raise GeloraError(f"{where} is not a whole {self.what}: it lacks {', '.join(lacking)}")
        name: str = vars(entry).get("name") or entry.name  # type: ignore[attr-defined]
        known = self._entries.get(name)
        owner = self._modules.get(name, entry.__module__)
        if owner != entry.__module__ or (known is not None and type(known).__qualname__ != entry.__qualname__):
            raise GeloraError(f"{where}: the {self.what} {name} is there already; take another name")
        self._entries[name] = entry()
        return entry


def _lacking(entry: type[Any]) -> list[str]:
    """Return the abstract methods, and the class attributes declared without a value, that a class leaves open.

    A class that declares an attribute again without a value opens it again for its subclasses.
    """
    abstract = sorted(getattr(entry, "__abstractmethods__", ()))
    is_open: dict[str, bool] = {}
    for parent in entry.__mro__:
        for name in inspect.get_annotations(parent):
            is_open.setdefault(name, name not in vars(parent))
        for name in vars(parent):
            is_open.setdefault(name, False)
    return abstract + sorted(name for name, lacks in is_open.items() if lacks)
