"""Declare a key of the configuration once: its type, default, help, what it accepts and what depends on it.

    epochs: int | None = key(None, help="passes over the training rows", low=1)

Checks, help, completion and the identity of a run are made from these declarations; there is no second table.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

METADATA = "gelora"
Choices = tuple[str, ...] | Callable[[], tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Everything about a key except its name, type and default."""

    help: str
    """One line, as `--help` shows it."""
    choices: Choices = ()
    """The accepted words, or a function that gives them; none: any value of the type."""
    low: float | None = None
    """The lowest number that is accepted."""
    above: float | None = None
    """In place of `low`: a number that is not accepted itself, but all above it are."""
    high: float = math.inf
    """The highest number that is accepted."""
    identity: bool | str = True
    """Whether the key can change a number of a run, so that it belongs to the hash of its directory. A text is the
    name under which it does; keys of the same name form a list."""
    absent: tuple[Any, ...] = ()
    """Values with which the identity leaves the key out. A key that is added later names here the value with which
    runs train as they did before, so that no run directory changes its name."""
    profile: bool = False
    """Whether the profile depends on it, so that it belongs to a profile's hash."""
    path: bool = False
    """Whether its value is a path, or may be one."""
    directory: bool = False
    """Whether its value names a directory, so that it must be a plain word."""
    common: bool = False
    """Whether `--help` shows it without `all`."""
    internal: bool = False
    """Whether gelora alone sets it: help and hints leave it out."""
    sources: tuple[str, ...] = ()
    """The sources of rows (`task.source`) that read it; none: every task may."""
    target: str = ""
    """What tasks that read it predict, as the target of their kind; empty: every task may."""

    def __post_init__(self) -> None:
        if not self.help or "\n" in self.help:
            raise ValueError("a key needs one line of help")

    def accepted(self) -> tuple[str, ...]:
        """Return the accepted words; empty where any value of the type is accepted."""
        return self.choices() if callable(self.choices) else self.choices

    def metadata(self) -> Mapping[str, Declaration]:
        """Return it as the metadata of a dataclass's field."""
        return {METADATA: self}


def key(  # noqa: PLR0913 - each is a part of the declaration
    default: Any,
    *,
    help: str,
    choices: Choices = (),
    low: float | None = None,
    above: float | None = None,
    high: float = math.inf,
    identity: bool | str = True,
    absent: tuple[Any, ...] = (),
    profile: bool = False,
    path: bool = False,
    directory: bool = False,
    common: bool = False,
    internal: bool = False,
    sources: tuple[str, ...] = (),
    target: str = "",
) -> Any:
    """Declare a key with its default: a dataclass's field (`Declaration` says what the arguments mean)."""
    declaration = Declaration(
        help=help,
        choices=choices,
        low=low,
        above=above,
        high=high,
        identity=identity,
        absent=absent,
        profile=profile,
        path=path,
        directory=directory,
        common=common,
        internal=internal,
        sources=sources,
        target=target,
    )
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=declaration.metadata())
    return field(default=default, metadata=declaration.metadata())


def section(schema: type, *, help: str, default: Callable[[], object] | None = None) -> Any:
    """Declare keys below this one: a field that holds another dataclass of keys; `default` builds a subclass of it."""
    return field(default_factory=default or schema, metadata=Declaration(help=help).metadata())


@dataclass(frozen=True)
class Key:
    """A key of a schema: its dotted name, its type and default, and its declaration."""

    name: str
    kind: Any
    default: Any
    declared: Declaration

    @property
    def last(self) -> str:
        """Return the name without its section."""
        return self.name.rpartition(".")[2]

    @property
    def section(self) -> str:
        """Return the dotted name of the section that it stands in; empty at the top."""
        return self.name.rpartition(".")[0]

    def value_in(self, config: object) -> Any:
        """Return the key's value in a configuration of its schema."""
        value = config
        for part in self.name.split("."):
            value = getattr(value, part)
        return value

    def types(self) -> tuple[Any, ...]:
        """Return the types that its value may have, None's among them."""
        return typing.get_args(self.kind) or (self.kind,)

    @property
    def is_optional(self) -> bool:
        """Return whether the key accepts null."""
        return self.kind is Any or type(None) in self.types()


def written_value(value: object) -> str:
    """Return a value as a user writes it, such as `null`, `true`, `32` for 32.0, or `[one,other]`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(written_value, value))}]"
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def declared_keys(schema: type, sections: Mapping[str, type] | None = None, prefix: str = "") -> tuple[Key, ...]:
    """Return every key of a schema in its order, with those of its sections.

    Args:
        schema: a dataclass whose fields are declared by `key` and `section`.
        sections: the classes of sections by their names, where they are subclasses of those that the schema names.
        prefix: what stands before each name, such as `method.`.

    Raises:
        TypeError: a field is not declared by `key` or `section`.
    """
    return _keys_with_sections(schema, tuple((sections or {}).items()), prefix)


def keys_of(config: object) -> tuple[Key, ...]:
    """Return every key of a configuration in its order.

    A section may hold a subclass of the class that the schema names, such as the one of the chosen method: then its
    keys are those of the subclass.
    """
    values = ((item.name, getattr(config, item.name)) for item in fields(config))  # type: ignore[arg-type]
    sections = tuple((name, type(value)) for name, value in values if dataclasses.is_dataclass(value))
    schema: type = type(config)
    return _keys_with_sections(schema, sections)


@functools.lru_cache(maxsize=1024)
def _keys_with_sections(schema: type, sections: tuple[tuple[str, type], ...], prefix: str = "") -> tuple[Key, ...]:
    """Return the keys of a schema; `sections` are the classes of its sections where they differ from the declared."""
    return tuple(_walk(schema, dict(sections), prefix))


def accepted_words(schema: type, name: str) -> tuple[str, ...]:
    """Return the words that a key accepts, a switch's too; empty where any value of its type is accepted."""
    for entry in declared_keys(schema):
        if entry.name == name:
            return ("true", "false") if entry.kind is bool else entry.declared.accepted()
    return ()


def _walk(schema: type, sections: Mapping[str, type], prefix: str) -> Iterator[Key]:
    """Yield the keys of a schema and, in their places, those of its sections."""
    hints = typing.get_type_hints(schema)
    for item in fields(schema):
        declared = item.metadata.get(METADATA)
        if declared is None:
            raise TypeError(f"{schema.__name__}.{item.name} has no declaration; give it one by key(...)")
        kind, name = sections.get(item.name, hints[item.name]), prefix + item.name
        if dataclasses.is_dataclass(kind):
            yield from _keys_with_sections(typing.cast(type, kind), (), f"{name}.")
        else:
            default = item.default
            if item.default_factory is not dataclasses.MISSING:
                default = item.default_factory()
            # None where there is no default, so that the user must give a value.
            yield Key(name, kind, None if default is dataclasses.MISSING else default, declared)


def section_help(schema: type) -> dict[str, str]:
    """Return the help of every section at the top of a schema."""
    hints = typing.get_type_hints(schema)
    sections = [item for item in fields(schema) if dataclasses.is_dataclass(hints[item.name])]
    return {item.name: item.metadata[METADATA].help for item in sections}
