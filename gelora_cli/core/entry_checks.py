"""What a class must be to become an entry of a registry: it has a name and every part, each of the declared type."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from gelora_cli.core.messages import join_names, quote

NAME = re.compile(r"\w[\w.-]*")
"""A name stands in file names, in the names of run directories and behind `KEY=`."""
TYPE_NAMES: Mapping[object, str] = {str: "a text", int: "a whole number", bool: "True or False", type(None): "None"}


def missing_parts(entry: type[Any]) -> list[str]:
    """Return the abstract methods, and the class attributes declared without a value, that a class does not define.

    A class that declares an attribute again without a value requires it again of its subclasses.
    """
    abstract = sorted(getattr(entry, "__abstractmethods__", ()))
    is_missing: dict[str, bool] = {}
    for parent in entry.__mro__:
        for name in inspect.get_annotations(parent):
            is_missing.setdefault(name, name not in vars(parent))
        for name in vars(parent):
            is_missing.setdefault(name, False)
    return abstract + sorted(name for name, missing in is_missing.items() if missing)


def wrong_parts(entry: type[Any], base: type[Any]) -> list[str]:
    """Return a sentence for each attribute of a class that has another type than its base declares."""
    problems = []
    name = getattr(entry, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        problems.append(f"name={quote(name)}; accepted: a text of letters, digits, _, - and .")
    for attribute, hint in _declared_types(base).items():
        value = inspect.getattr_static(entry, attribute)
        is_computed = isinstance(value, property)
        if attribute != "name" and not is_computed and not _has_type(value, hint):
            problems.append(f"{attribute}={quote(value)}; accepted: {_type_text(hint)}")
    for attribute, value in vars(base).items():
        if inspect.isfunction(value) and not callable(getattr(entry, attribute)):
            problems.append(f"{attribute}={quote(getattr(entry, attribute))}; accepted: a method")
    return problems


def _declared_types(base: type[Any]) -> dict[str, Any]:
    """Return the declared type of each attribute of a class and its parents."""
    hints: dict[str, Any] = {}
    for parent in reversed(base.__mro__):
        try:
            hints |= inspect.get_annotations(parent, eval_str=True)
        except NameError:  # it names a class that only a type checker imports
            continue
    return hints


def _has_type(value: object, hint: Any) -> bool:
    """Return whether a value has a declared type, as far as that can be told."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.ClassVar:
        return _has_type(value, arguments[0])
    if origin in (typing.Union, types.UnionType):
        return any(_has_type(value, argument) for argument in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_has_type(item, arguments[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_has_type(item, arguments[1]) for item in value.values())
    return _is_plain(value, hint, origin)


def _is_plain(value: object, hint: Any, origin: Any) -> bool:
    """Return whether a value has a declared type that holds no others."""
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if origin is Callable:
        return callable(value)
    if type in (hint, origin):
        return isinstance(value, type)
    if hint is int and isinstance(value, bool):
        return False
    return isinstance(value, hint) if hint in TYPE_NAMES else True


def _type_text(hint: Any) -> str:
    """Return a declared type in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.ClassVar:
        return _type_text(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_text(argument) for argument in arguments)
    if origin is typing.Literal:
        return join_names(arguments)
    if origin is tuple:
        return f"a tuple, each item {_type_text(arguments[0])}"
    if origin is Mapping:
        return f"a dictionary, each value {_type_text(arguments[1])}"
    words = {Callable: "a function", type: "a class"}
    return words.get(origin or hint) or TYPE_NAMES.get(hint) or str(hint)
