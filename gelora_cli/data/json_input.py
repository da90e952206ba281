"""Read JSON that a user wrote: every input gives a value or one readable error, however deep or long it is."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import quote_name

LONGEST_INTEGER = 4_000
"""Digits of an integer that Python converts under its default limit of 4,300 digits."""


class RepeatedNames(dict[str, Any]):
    """A JSON object that gives some of its names several times; it holds the last value of each name."""

    repeated: frozenset[str] = frozenset()


def parse_json(text: str, where: str, accepted: str) -> Any:
    """Return the value of a JSON text.

    An integer of more than 4,000 digits becomes a `Decimal`. An object that gives a name twice becomes a
    `RepeatedNames`.

    Args:
        text: the JSON text.
        where: the file, and the line if there is one, for messages.
        accepted: what is expected, for messages.

    Raises:
        GeloraError: the text is not JSON, or its values are nested too deeply.
    """
    try:
        return json.loads(
            text,
            parse_int=lambda digits: int(digits) if len(digits) <= LONGEST_INTEGER else Decimal(digits),
            object_pairs_hook=_build_object,
        )
    except RecursionError as error:
        raise GeloraError(f"{where}: this JSON is nested too deeply to be read; {accepted}") from error
    except ValueError as error:
        raise GeloraError(f"{where}: not JSON ({error}); {accepted}") from error


def refuse_repeated(value: object, names: tuple[str, ...], where: str) -> None:
    """Refuse an object that gives one of the names twice, because it doesn't say which value is meant.

    Raises:
        GeloraError: a name is given twice; the message says `where`.
    """
    if not isinstance(value, RepeatedNames):
        return
    for name in names:
        if name in value.repeated:
            raise GeloraError(f"{where}: the name {quote_name(name)} comes twice in one object; remove one of the two")


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Only the reader knows which names count, so repeated ones are marked here and refused by `refuse_repeated`.
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    names = [name for name, _ in pairs]
    with_repeats = RepeatedNames(values)
    with_repeats.repeated = frozenset(name for name in values if names.count(name) > 1)
    return with_repeats
