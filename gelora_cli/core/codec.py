"""Artifacts as JSON files, which hold their type, schema version and the sha256 of their values; no torch, no numpy.

Reading is strict: a value must have the type that the dataclass declares, so that a file that was edited or written by
another version is refused with the name of the field instead of failing later. Two things are lenient: a whole number
is accepted for a float, and a missing field gets its default, since the file may be older than the field.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import textwrap
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from gelora_cli.core.errors import GeloraError, OtherVersionError, UnusableError
from gelora_cli.core.files import read_text, write_atomic
from gelora_cli.core.messages import join_names, quote

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SCHEMA_VERSION = 2
Artifact = TypeVar("Artifact")
Decoder = Callable[[object], object]
"""Turns a value from JSON into one of a declared type, or raises `_FieldError`."""

LARGEST_WHOLE = 10**30
"""A count of operations of the largest models is below it, and every quotient and product with it is a float."""
TYPE_NAMES: dict[object, str] = {str: "a text", int: "a whole number", bool: "true or false", float: "a number"}


class StoredArtifact(Protocol):
    """A frozen dataclass that knows the name of its file."""

    FILE: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


def write_artifact(artifact: StoredArtifact, directory: Path) -> Path:
    """Write an artifact under its own file name and return the path."""
    path = directory / str(artifact.FILE)
    write_atomic(path, to_json(artifact))
    return path


def read_artifact(kind: type[Artifact], path: Path, *, verify: bool = True) -> Artifact:
    """Return the artifact in a file; without `verify`, its sha256 is not checked.

    Raises:
        GeloraError: as `from_json` and `read_text` say.
    """
    return from_json(kind, read_text(path, kind.__name__), str(path), verify=verify)


def to_json(artifact: DataclassInstance) -> str:
    """Return the artifact as indented JSON: its type as `schema`, `schema_version`, `sha256`, then its values."""
    # Through JSON once, so that the checksum is over what a reader gets: lists for tuples, text for keys.
    values = json.loads(json.dumps(dataclasses.asdict(artifact), allow_nan=False))
    head = {"schema": type(artifact).__name__, "schema_version": SCHEMA_VERSION, "sha256": _checksum(values)}
    return json.dumps(head | values, indent=2, allow_nan=False) + "\n"


def from_json(kind: type[Artifact], text: str, source: str = "text", *, verify: bool = True) -> Artifact:
    """Return the artifact of type `kind` that `text` holds; `source` names the text in errors.

    A file without `sha256`, as one written by hand, is accepted; without `verify`, so is any other.

    Raises:
        OtherVersionError: another schema version.
        UnusableError: another type.
        GeloraError: not JSON, changed since it was written, a missing or unknown field, a value of another type.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:  # not JSON, an integer of thousands of digits, nested too deeply
        raise GeloraError(
            f"{source} is damaged: {_shorten(error)}. Restore it, or run again with force=true."
        ) from error
    _check_schema(kind, values, source)
    checksum = values.pop("sha256", None)  # removed before the checksum is taken, which is over the other values
    if verify and checksum is not None and checksum != _checksum(values):
        raise GeloraError(
            f"{source} is damaged or was edited: its values have another sha256 than it says. Restore it, or run again "
            'with force=true. If the change is yours, remove the line "sha256".'
        )
    try:
        return typing.cast(Artifact, _decode(kind, values))
    except _FieldError as error:
        raise GeloraError(
            f"{source} is not a complete {kind.__name__}: {_shorten(error)}. Run again with force=true."
        ) from error


def decode_values(kind: type[Artifact], values: object) -> Artifact:
    """Return the dataclass `kind` that a JSON object without type, version and sha256 holds, as a line of a file does.

    Raises:
        ValueError: a missing or unknown field, or a value of another type, with the path to it.
    """
    return typing.cast(Artifact, _decode(kind, values))


def _check_schema(kind: type, values: object, source: str) -> None:
    """Remove the type and schema version from the values of a file, and refuse others than those of `kind`."""
    # Checked before the checksum: a file of another version says so, and not that it is damaged.
    schema = values.pop("schema", None) if isinstance(values, dict) else None
    version = values.pop("schema_version", None) if isinstance(values, dict) else None
    if (schema, version) == (kind.__name__, SCHEMA_VERSION):
        return
    is_other_version = schema == kind.__name__ and version is not None
    if is_other_version:
        raise OtherVersionError(
            f"{source} holds the {kind.__name__} of schema version {_shorten(version)}, and this gelora reads version "
            f"{SCHEMA_VERSION}. Run again with force=true."
        )
    if schema is None or version is None:
        missing = "schema" if schema is None else "schema_version"
        raise UnusableError(
            f"{source} is no {kind.__name__} that gelora wrote: it has no {missing}. Give another file, or restore it."
        )
    raise UnusableError(
        f"{source} holds the values of {_shorten(schema)}, and those of {kind.__name__} are needed. Give another file."
    )


def _shorten(value: object) -> str:
    return textwrap.shorten(str(value), 200)


def _checksum(values: dict[str, Any]) -> str:
    """Return the sha256 of values, in hex; layout and the order of keys don't matter."""
    # The separators and escapes of json.dumps are part of every stored checksum.
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class _FieldError(ValueError):
    """A value that does not fit its field, with the path to it: `train.evaluations[0].seconds`."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem, self.path = problem, ""

    def within(self, parent: str) -> _FieldError:
        """Put the field or item that contains the value in front of the path."""
        separator = "." if self.path and not self.path.startswith("[") else ""
        self.path = parent + separator + self.path
        return self

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}" if self.path else self.problem


def _decode(kind: object, value: object) -> object:
    """Return a value from JSON in the type that the annotation `kind` declares.

    Raises:
        _FieldError: it has another type.
    """
    return _decoder(kind)(value)


@functools.cache
def _decoder(kind: object) -> Decoder:
    """Return the function that decodes values of a type; it is built once, since listings read thousands of files."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _dataclass_decoder(kind)
    if origin in (typing.Union, types.UnionType):  # only `X | None`
        return _optional_decoder(_decoder(next(item for item in arguments if item is not type(None))))
    if origin is tuple:
        return _tuple_decoder(arguments[0])
    if origin is dict:
        return _mapping_decoder(arguments[1])
    if kind is object:
        return _any_value
    return _decode_float if kind is float else _plain_decoder(kind)


def _any_value(value: object) -> object:
    """Return a value whose form is another one's affair."""
    return value


def _plain_decoder(kind: object) -> Decoder:
    """Return the decoder of a text, a whole number or a truth value."""

    def decode(value: object) -> object:
        if type(value) is int and abs(value) > LARGEST_WHOLE:
            raise _FieldError(f"{quote(value)} given, a whole number of at most 30 digits expected")
        if type(value) is kind and kind in (str, int, bool):
            return value
        raise _FieldError(f"{quote(value)} given, {TYPE_NAMES.get(kind, str(kind))} expected")

    return decode


def _optional_decoder(decode: Decoder) -> Decoder:
    return lambda value: None if value is None else decode(value)


def _dataclass_decoder(kind: type) -> Decoder:
    """Return the decoder of a dataclass; a field with a default may be missing."""
    hints, required = _field_types(kind)
    decoders: dict[str, Decoder] = {}

    def decode(value: object) -> object:
        if not isinstance(value, dict):
            raise _FieldError(f"{quote(value)} given, an object with the fields of {kind.__name__} expected")
        if not decoders:  # not before: a type may contain itself
            decoders.update({name: _decoder(hint) for name, hint in hints.items()})
        missing, unknown = required - value.keys(), value.keys() - decoders.keys()
        if missing:
            raise _FieldError(f"{kind.__name__} lacks {join_names(sorted(missing))}")
        if unknown:
            raise _FieldError(f"{kind.__name__} has no field {join_names(sorted(unknown))}")
        arguments = {}
        for name, item in value.items():
            try:
                arguments[name] = decoders[name](item)
            except _FieldError as error:
                raise error.within(name) from None
        return kind(**arguments)

    return decode


def _tuple_decoder(kind: object) -> Decoder:
    """Return the decoder of a list whose items are of one type, as a tuple."""
    decode_item = _decoder(kind)

    def decode(value: object) -> object:
        if not isinstance(value, list):
            raise _FieldError(f"{quote(value)} given, a list expected")
        items = []
        for index, item in enumerate(value):
            try:
                items.append(decode_item(item))
            except _FieldError as error:
                raise error.within(f"[{index}]") from None
        return tuple(items)

    return decode


def _mapping_decoder(kind: object) -> Decoder:
    """Return the decoder of an object whose values are of one type."""
    decode_item = _decoder(kind)

    def decode(value: object) -> object:
        if not isinstance(value, dict):
            raise _FieldError(f"{quote(value)} given, an object expected")
        items = {}
        for key, item in value.items():
            try:
                items[key] = decode_item(item)
            except _FieldError as error:
                raise error.within(f"[{quote(key)}]") from None
        return items

    return decode


def _decode_float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):  # True is an int for Python
        raise _FieldError(f"{quote(value)} given, a number expected")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the range of floats
        number = math.inf
    if not math.isfinite(number):
        raise _FieldError(f"{quote(value)} given, a finite number expected")
    return number


def _field_types(kind: type) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the annotations of a dataclass's fields, and the names of those without a default."""
    hints, fields = typing.get_type_hints(kind), dataclasses.fields(kind)
    required = []
    for field in fields:
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            required.append(field.name)
    return {field.name: hints[field.name] for field in fields}, frozenset(required)
