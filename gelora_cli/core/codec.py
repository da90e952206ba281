"""Artifacts as JSON: their type, schema version and the sha256 of their values beside them; no torch, no numpy."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import stat
import textwrap
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from gelora_cli.core.errors import GeloraError, OtherVersionError, UnusableError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SCHEMA_VERSION = 2


MOST_BYTES = 2**28
"""The largest file that is read as one of ours; the largest real ones (ranks of a thousand blocks) have some MB."""


Artifact = TypeVar("Artifact")


class StoredArtifact(Protocol):
    """A frozen dataclass that knows the name of its file."""

    FILE: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


PLAIN_KINDS = (str, int, bool)
"""Kinds of value that JSON has as they are."""


def to_json(artifact: DataclassInstance) -> str:
    """The artifact as indented JSON: `schema` (its type), `schema_version`, the `sha256` of its values, and these."""
    values = json.loads(json.dumps(dataclasses.asdict(artifact), allow_nan=False))
    head = {"schema": type(artifact).__name__, "schema_version": SCHEMA_VERSION, "sha256": _digest(values)}
    return json.dumps(head | values, indent=2, allow_nan=False) + "\n"


def from_json(kind: type[Artifact], text: str, source: str = "text", *, verify: bool = True) -> Artifact:
    """The artifact of type `kind` written in `text`; `source` names it in errors.

    A file without its `sha256`, as one written by hand, is taken as it is; so is any with `verify` false.

    Raises:
        OtherVersionError: another schema version.
        UnusableError: another type.
        GeloraError: not JSON, changed since it was written, a missing or unknown field, a value of another type.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:  # no JSON, an integer of thousands of digits, nested too deeply
        raise GeloraError(f"{source} is damaged: {_short(error)}. Restore it, or run again with force=true.") from error
    given = (values.pop("schema", None), values.pop("schema_version", None)) if isinstance(values, dict) else None
    if given != (kind.__name__, SCHEMA_VERSION):
        older = given is not None and given[0] == kind.__name__ and given[1] is not None
        raise (OtherVersionError if older else UnusableError)(
            f"{source}: schema {_short(given)} given, ({kind.__name__!r}, {SCHEMA_VERSION}) is what this version reads."
        )
    digest = values.pop("sha256", None)
    if verify and digest is not None and digest != _digest(values):
        raise GeloraError(
            f"{source} is damaged or was edited: its values have another sha256 than it says. Restore it, or run again "
            'with force=true; of a change that you want, take the line "sha256" out.'
        )
    try:
        return typing.cast(Artifact, _decode(kind, values))
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise GeloraError(
            f"{source} is not a whole {kind.__name__}: {_short(error)}. Run again with force=true."
        ) from error


def _short(value: object) -> str:
    """What a message says of something that may be long."""
    return textwrap.shorten(str(value), 200)


def _digest(values: dict[str, Any]) -> str:
    """The sha256 of values as JSON gives them, in hex; layout and the order of keys don't matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def read_artifact(kind: type[Artifact], path: Path, *, verify: bool = True) -> Artifact:
    """The artifact in the file `path`; with `verify` false its own sha256 is not computed again.

    Raises:
        GeloraError: as `from_json` and `read_text` say.
    """
    return from_json(kind, read_text(path, kind.__name__), str(path), verify=verify)


def read_text(path: Path, what: str) -> str:
    """The text of a file that gelora wrote; `what` it is in messages.

    Raises:
        UnusableError: it may not be read.
        GeloraError: it is missing, no regular file (a directory, a dangling link, a pipe), too large, or not UTF-8.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise GeloraError(f"{path} is damaged: it is no regular file. Remove it, and run again with force=true.")
        if found.st_size > MOST_BYTES:
            raise GeloraError(
                f"{path} is damaged: it has {found.st_size:,} bytes, and gelora writes at most {MOST_BYTES:,}. "
                "Run again with force=true."
            )
        return path.read_text(encoding="utf-8")
    except PermissionError as error:
        raise UnusableError(f"{path} can't be read: {error.strerror}. Make it readable.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise GeloraError(f"{path} can't be read as {what}: {reason}.") from error


def _decode(kind: Any, value: object) -> Any:
    """`value`, as JSON gives it, in the shape of the annotation `kind`."""
    if type(value) is kind and kind in PLAIN_KINDS:  # most values, and the rest is slow beside it
        return value
    return _decode_other(kind, value)


def _decode_other(kind: Any, value: object) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(typing.cast(type, kind), value)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _decode(next(a for a in arguments if a is not type(None)), value)
    if origin is tuple:
        return tuple(_decode(arguments[0], item) for item in _expect(value, list))
    if origin is dict:
        return {key: _decode(arguments[1], item) for key, item in _expect(value, dict).items()}
    if kind is float:
        number = float(_expect(value, (int, float)))
        if not math.isfinite(number):
            raise ValueError(f"{value} is not finite")
        return number
    return _expect(value, kind)


def _decode_dataclass(kind: type, value: object) -> object:
    """Build a dataclass; a field with a default may be missing: the file was written before the field was added."""
    hints, required = _field_types(kind)
    known = set(hints)
    values = _expect(value, dict)
    given = set(values)
    if not required <= given <= known:
        raise ValueError(f"{kind.__name__} has other fields: {sorted((required - given) | (given - known))}")
    return kind(**{name: _decode(hints[name], values[name]) for name in given})


@functools.cache
def _field_types(kind: type) -> tuple[dict[str, Any], set[str]]:
    """The annotations of a dataclass's fields, and the names of those without a default."""
    hints, fields = typing.get_type_hints(kind), dataclasses.fields(kind)
    required = {field.name for field in fields if field.default is dataclasses.MISSING}
    return {field.name: hints[field.name] for field in fields}, required


def _expect(value: object, kind: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{_short(repr(value))} is not of type {kind}")
    return value
