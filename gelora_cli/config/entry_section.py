"""A section whose keys are declared by an entry of a registry: `method.` by the method, `launch.` by the launcher.

One value of the section, such as `method.name`, names the entry. The registry is asked for it by that name, and imports
its module then. So this package imports no method, and a method from a user's folder brings keys of its own.
"""

from __future__ import annotations

import functools
import keyword
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, make_dataclass
from typing import Any, ClassVar, Self

from gelora_cli.config.keys import declared_keys, key
from gelora_cli.config.section_checks import section_problem
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import quote
from gelora_cli.core.registry import Registry


@dataclass
class EntrySection:
    """The keys that every entry of a registry has. An entry with more keys declares them in a subclass.

    The entry names its subclass by its attribute `config_class`; without one it has the keys of the base class alone.

    Attributes:
        registry: where the entries are.
        choice: the key whose value names the entry.
        changes_numbers: whether the keys that entries add can change a number of a run, unless they say otherwise.
    """

    registry: ClassVar[Registry[Any]]
    choice: ClassVar[str] = "name"
    changes_numbers: ClassVar[bool] = True

    @property
    def entry(self) -> str:
        """Return the name of the chosen entry."""
        name: str = getattr(self, self.choice)
        return name

    @classmethod
    def class_of(cls, name: str) -> type[Self]:
        """Return the class of the section for an entry; the base class where there is no such entry.

        Raises:
            GeloraError: the entry names a class of another section, or one whose keys can't be read.
        """
        base = cls.base_class()
        declared = cls.registry.get(name).config_class if name in cls.registry else None
        hashable_base: Any = base  # a class is hashable, which type checkers don't know
        if declared is not None and (problem := section_problem(declared, hashable_base)):
            class_name = getattr(declared, "__name__", quote(declared))
            raise GeloraError(f"{cls.registry.what} {name}: its config_class {class_name} {problem}")
        return declared or base

    @classmethod
    def base_class(cls) -> type[Self]:
        """Return the class that names the registry, which every class of the section derives from."""
        return next(base for base in cls.__mro__ if "registry" in vars(base))

    @classmethod
    def for_values(cls, values: Mapping[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """Return the class of a section with these values, and the values that it takes.

        A null of a key that accepts none is left out. Versions before this one wrote null for the keys of all other
        entries, and for a key that is newer than the file: the latter now has its default.
        A value of a key that only another entry declares is kept, so that `problems` can refuse it. Where the entry
        is not known, as where runs of a plug-in are listed without loading it, every value is kept.
        """
        name = values.get(cls.choice, "")
        if not isinstance(name, str):
            return cls, dict(values)
        section: type = cls.class_of(name)
        declared = {item.name: item for item in declared_keys(section)}
        accepted = {}
        for item, value in values.items():
            accepts_null = item in declared and declared[item].is_optional
            if value is not None or accepts_null:
                accepted[item] = value
        undeclared = []
        for item in accepted:
            # No field of a dataclass can have another name; the caller refuses such a key as unknown.
            is_name = isinstance(item, str) and item.isidentifier() and not keyword.iskeyword(item)
            if item not in declared and is_name and (name not in cls.registry or cls.owners(item)):
                undeclared.append(item)
        return _with_undeclared(section, tuple(undeclared)), accepted

    @classmethod
    def of(cls, name: str, **values: Any) -> Self:
        """Return the section of an entry with these values, and its defaults for all other keys."""
        section, accepted = cls.for_values({cls.choice: name, **values})
        return section(**accepted)

    @classmethod
    def owners(cls, item: str) -> list[str]:
        """Return the names of the entries that declare a key."""
        names = cls.registry.names()
        return [name for name in names if item in cls.class_of(name).__dataclass_fields__]

    def for_entry(self, name: str) -> Self:
        """Return the section of another entry, with the values of the keys that both have."""
        if name == self.entry:
            return self
        section = self.class_of(name)
        shared = {item.name: getattr(self, item.name) for item in fields(section) if hasattr(self, item.name)}
        return section(**(shared | {self.choice: name}))

    def undeclared(self) -> dict[str, Any]:
        """Return the values of keys that the entry itself does not declare; empty where the entry is not known."""
        if self.entry not in self.registry:
            return {}
        declared = {item.name for item in fields(self.class_of(self.entry))}
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in declared}

    def problems(self) -> Iterator[str]:
        """Yield what does not go together among the values, each as one sentence with its fix."""
        yield from ()


@functools.lru_cache(maxsize=256)
def _with_undeclared(section: type[Any], names: tuple[str, ...]) -> type[Any]:
    """Return a class with further keys of any value; the class itself where there are none."""
    if not names:
        return section
    more = [(name, Any, key(None, help="a setting that is not declared here", absent=(None,))) for name in names]
    extended: type[Any] = make_dataclass(section.__name__, more, bases=(section,))
    return extended
