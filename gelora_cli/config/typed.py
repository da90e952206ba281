"""Plain values, as YAML or JSON give them, to typed configuration dataclasses; nothing in them is interpolated."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Any


def typed(kind: Any, value: object, key: str = "") -> Any:
    """Return `value` as the annotation `kind` has it; a key that a dataclass has and `value` lacks gets its default.

    `key` is the dotted name for messages. Every text stays as it is: `${...}` and `???` mean nothing here.

    Raises:
        ValueError: an unknown key, or a value of another type, with the key.
    """
    if type(value) is kind and kind in (str, int, bool):  # most values, and the rest is slow beside it
        return value
    return _typed_other(kind, value, key)


def _typed_other(kind: Any, value: object, key: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _typed_dataclass(typing.cast(type, kind), value, key)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
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
        return float(_expect((int, float), value, key))
    return _expect(kind, value, key)


def _typed_dataclass(kind: type, value: object, key: str) -> Any:
    hints = _type_hints(kind)
    values = _expect(dict, value, key)
    unknown = [str(name) for name in values if name not in hints]
    if unknown:
        raise ValueError(f"{_joined(key, unknown[0])} is unknown")
    return kind(**{name: typed(hints[name], item, _joined(key, name)) for name, item in values.items()})


def _typed_union(kinds: tuple[Any, ...], value: object, key: str) -> Any:
    """The value as the first of the kinds that takes it as it is; None only where it is one of them."""
    if value is None and type(None) in kinds:
        return None
    others = [kind for kind in kinds if kind is not type(None)]
    if len(others) == 1:
        return typed(others[0], value, key)
    if type(value) in others:
        return value
    raise ValueError(f"{key} is {type(value).__name__}, not {' or '.join(kind.__name__ for kind in others)}")


def _expect(kind: Any, value: object, key: str) -> Any:
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    wanted = " or ".join(one.__name__ for one in kind) if isinstance(kind, tuple) else kind.__name__
    raise ValueError(f"{key or 'the whole'} is {type(value).__name__}, not {wanted}")


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


@functools.cache
def _type_hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)
