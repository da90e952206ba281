"""What a dataclass of keys must be, so that Hydra, checks and help can read it; entries of plug-ins bring their own."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from typing import Any

from gelora_cli.config.keys import METADATA
from gelora_cli.core.messages import quote

PLAIN_TYPES = (str, int, float, bool)


@functools.lru_cache(maxsize=256)
def section_problem(declared: Any, base: Any) -> str:
    """Return what is wrong with the class of an entry's keys, as the rest of a sentence; empty where nothing is.

    Args:
        declared: what the entry names as its `config_class`.
        base: the class of the section, of which it must be a subclass.
    """
    if not isinstance(declared, type) or not issubclass(declared, base):
        return f"is no subclass of {base.__name__}"
    for parent in declared.__mro__[: declared.__mro__.index(base)]:
        keys = inspect.get_annotations(parent)
        if keys and "__dataclass_fields__" not in vars(parent):
            return f"declares {', '.join(keys)} but is no dataclass: write @dataclass above it"
    try:
        hints = typing.get_type_hints(declared)
    except NameError as error:
        return f"has a key of a type that can't be found: {error}"
    for parent in declared.__mro__[1 : declared.__mro__.index(base) + 1]:
        for name, kind in typing.get_type_hints(parent).items():
            if hints[name] != kind:
                return f"declares {name}, which {parent.__name__} has already, of another type; take another name"
    known = {item.name for item in dataclasses.fields(base)}
    problems = [_key_problem(item, hints[item.name]) for item in dataclasses.fields(declared) if item.name not in known]
    return next(filter(None, problems), "")


def _key_problem(item: dataclasses.Field[Any], kind: Any) -> str:
    """Return what is wrong with the type and the default of one key; empty where nothing is."""
    if METADATA not in item.metadata:
        return f"has no declaration of {item.name}: write {item.name}: TYPE = key(DEFAULT, help=...)"
    if item.default is dataclasses.MISSING and typing.get_origin(kind) in (list, dict):
        return ""
    accepted = _plain_types(kind)
    if accepted is None:
        words = f"declares {item.name} with the type {getattr(kind, '__name__', kind)}"
        return f"{words}; accepted: str, int, float, bool, each also with | None, or a list of them"
    is_whole_for_float = float in accepted and type(item.default) is int
    has_default = item.default is not dataclasses.MISSING
    if has_default and type(item.default) not in accepted and not is_whole_for_float:
        return f"declares {item.name} with the default {quote(item.default)}, which is not of its type"
    return ""


def _plain_types(kind: Any) -> tuple[type, ...] | None:
    """Return the plain types, and None's, that a key's type is made of; None where it is made of others."""
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    parts = typing.get_args(kind) if is_union else (kind,)
    return parts if set(parts) <= {*PLAIN_TYPES, type(None)} else None
