"""JSON Schema of the lines of an archive, from the dataclasses that write and read them.

python -m scripts.reference archive-1.schema.json > docs/reference/archive-1.schema.json
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import types
import typing
from typing import Annotated, Any

from gelora_cli.archive.records import RECORDS, SCHEMA_VERSION, ArchiveHead
from gelora_cli.core import codec

JsonSchema = dict[str, Any]
ARCHIVE_SCHEMA = f"archive-{SCHEMA_VERSION}.schema.json"
WORDS: dict[Any, JsonSchema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    object: {},
}


def archive_schema(notes: typing.Callable[[type], dict[str, str]]) -> str:
    """Return the schema of a line of an archive as JSON; `notes` gives the meaning of a dataclass's fields by name."""
    definitions: dict[str, JsonSchema] = {}
    for record in RECORDS:
        _define(record, definitions, notes)
        schema = definitions[record.__name__]
        schema["properties"] = {"kind": {"const": record.KIND}, **schema["properties"]}
        schema["required"] = ["kind", *schema["required"]]
    definitions[ArchiveHead.__name__]["properties"]["schema_version"]["const"] = SCHEMA_VERSION
    lines = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A line of an archive of gelora pack, version {SCHEMA_VERSION}",
        "oneOf": [{"$ref": f"#/$defs/{record.__name__}"} for record in RECORDS],
        "$defs": definitions,
    }
    return json.dumps(lines, indent=1) + "\n"


def _define(kind: type, definitions: dict[str, JsonSchema], notes: typing.Callable[[type], dict[str, str]]) -> None:
    """Add the definition of a dataclass, and those of the dataclasses in its fields."""
    if kind.__name__ in definitions:
        return
    definitions[kind.__name__] = {}  # its place, before those of its fields
    meanings = notes(kind)
    properties: dict[str, JsonSchema] = {}
    required = []
    hints = typing.get_type_hints(kind, include_extras=True)
    if hasattr(kind, "FILE"):
        properties |= _stored_head(kind)
        required += ["schema", "schema_version"]
    for field in dataclasses.fields(kind):
        schema = _schema(hints[field.name], definitions, notes)
        properties[field.name] = schema | ({"description": meanings[field.name]} if field.name in meanings else {})
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            required.append(field.name)
    definitions[kind.__name__] = {
        "description": (inspect.getdoc(kind) or "").splitlines()[0],
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _stored_head(kind: type) -> dict[str, JsonSchema]:
    """Return what stands in front of the values of a JSON file (`core.codec.to_json`)."""
    return {
        "schema": {"const": kind.__name__},
        "schema_version": {"const": codec.SCHEMA_VERSION},
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    }


def _schema(
    kind: Any, definitions: dict[str, JsonSchema], notes: typing.Callable[[type], dict[str, str]]
) -> JsonSchema:
    """Return the schema of a field's type."""
    if kind in WORDS:
        return dict(WORDS[kind])
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:  # the values of a file, of which the annotation names the dataclass
        return _schema(arguments[1], definitions, notes)
    if origin in (typing.Union, types.UnionType):
        choices = []
        for argument in arguments:
            is_null = argument is type(None)
            choices.append({"type": "null"} if is_null else _schema(argument, definitions, notes))
        return {"anyOf": choices}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0], definitions, notes)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions, notes)}
    _define(kind, definitions, notes)
    return {"$ref": f"#/$defs/{kind.__name__}"}
