"""Plain values, as YAML or JSON give them, to typed configuration dataclasses; nothing in them is interpolated."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Any, TypeVar

from gelora_cli.config.entry_section import EntrySection
from gelora_cli.core.messages import suggest

Section = TypeVar("Section", bound=EntrySection)


def typed(kind: Any, value: object, key: str = "") -> Any:
    """Return `value` as the annotation `kind` has it; a key that a dataclass has and `value` lacks gets its default.

    `key` is the dotted name for messages. Every text stays as it is: `${...}` and `???` mean nothing here.

    Raises:
        ValueError: an unknown key, a missing one without default, or a value of another type, with the key.
    """
    if kind is Any or (type(value) is kind and kind in (str, int, bool)):  # most values, and the rest is slow
        return value
    return _typed_other(kind, value, key)


def _typed_other(kind: Any, value: object, key: str) -> Any:
    is_dataclass, origin, arguments = _inspect(kind)
    if is_dataclass:
        return _typed_dataclass(typing.cast(type, kind), value, key)
    if origin in (typing.Union, types.UnionType):
        return _typed_union(arguments, value, key)
    if origin is list:
        return [typed(arguments[0], item, f"{key}[{number}]") for number, item in enumerate(_expect(list, value, key))]
    if origin is dict:
        return {
            _expect(str, name, key): typed(arguments[1], item, f"{key}.{name}")
            for name, item in _expect(dict, value, key).items()
        }
    if kind is float:
        return _as_float(_expect((int, float), value, key), key)
    return _expect(kind, value, key)


def in_entry_class(section: Section, key: str) -> Section:
    """Return a section in the class that its entry declares, with all values that it holds.

    Hydra knows that class only where the option of the group is named as the entry, and a file may have been read
    before the plug-ins were loaded.

    Raises:
        ValueError: an unknown key, or a value of another type, with the key.
    """
    kind, values = type(section).for_values(vars(section))
    before, hints = _type_hints(type(section)), _type_hints(kind)  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in hints:
            raise ValueError(f"{_joined(key, name)} is unknown; {suggest(name, tuple(hints))}")
        if hints[name] != before.get(name):
            values[name] = typed(hints[name], value, _joined(key, name))
    return section if kind is type(section) else kind(**values)


def _typed_dataclass(kind: type, value: object, key: str) -> Any:
    values = _expect(dict, value, key)
    if issubclass(kind, EntrySection):
        kind, values = kind.for_values(values)
    hints = _type_hints(kind)  # type: ignore[arg-type]
    unknown = [str(name) for name in values if name not in hints]
    if unknown:
        raise ValueError(f"{_joined(key, unknown[0])} is unknown")
    missing = [name for name in _required_fields(kind) if name not in values]  # type: ignore[arg-type]
    if missing:
        raise ValueError(f"{_joined(key, missing[0])} is missing")
    return kind(**{name: typed(hints[name], item, _joined(key, name)) for name, item in values.items()})


def _typed_union(kinds: tuple[Any, ...], value: object, key: str) -> Any:
    """Return the value if one of the types accepts it unchanged; None only if None is one of them."""
    if value is None and type(None) in kinds:
        return None
    others = [kind for kind in kinds if kind is not type(None)]
    if len(others) == 1:
        return typed(others[0], value, key)
    if type(value) in others:
        return value
    raise ValueError(f"{key} is {type(value).__name__}, not {' or '.join(kind.__name__ for kind in others)}")


def _expect(kind: Any, value: object, key: str) -> Any:
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):  # Python's bool is an int
        return value
    expected = " or ".join(one.__name__ for one in kind) if isinstance(kind, tuple) else kind.__name__
    raise ValueError(f"{key or 'the file'} is {type(value).__name__}, not {expected}")


def _as_float(number: float, key: str) -> float:
    try:
        return float(number)
    except OverflowError as error:
        raise ValueError(f"{key or 'the file'} is an integer of more digits than a float can hold") from error


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


@functools.lru_cache(maxsize=2048)
def _inspect(kind: Any) -> tuple[bool, Any, tuple[Any, ...]]:
    """Return whether a type is a dataclass, its origin and its arguments; asked for each value of many files."""
    return dataclasses.is_dataclass(kind), typing.get_origin(kind), typing.get_args(kind)


@functools.lru_cache(maxsize=512)
def _type_hints(kind: Any) -> dict[str, Any]:
    """Return the types of a dataclass's fields by name."""
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in dataclasses.fields(kind)}


@functools.lru_cache(maxsize=512)
def _required_fields(kind: Any) -> tuple[str, ...]:
    """Return the names of a dataclass's fields without a default."""
    missing = dataclasses.MISSING
    fields = dataclasses.fields(kind)
    return tuple(item.name for item in fields if item.default is missing and item.default_factory is missing)
