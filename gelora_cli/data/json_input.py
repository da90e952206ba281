"""JSON of the user's: any depth and any length of number ends in a value or in one message."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import quote_name

LONGEST_INTEGER = 4_000
"""Digits that Python turns into an `int` under its default limit (4,300)."""


class RepeatedNames(dict[str, Any]):
    """An object that gives some of its names several times; the last value of each is kept."""

    repeated: frozenset[str] = frozenset()


def parse_json(text: str, where: str, accepted: str) -> Any:
    """Return the value of a JSON text; `accepted` says what is expected, for the message.

    An integer of more than 4,000 digits becomes a `Decimal`, an object with a name twice a `RepeatedNames`.

    Raises:
        GeloraError: no JSON, or nested too deeply.
    """
    try:
        return json.loads(text, parse_int=_integer, object_pairs_hook=_object)
    except RecursionError as error:
        raise GeloraError(f"{where}: not JSON that can be read, it is nested too deeply; {accepted}") from error
    except ValueError as error:
        raise GeloraError(f"{where}: not JSON ({error}); {accepted}") from error


def refuse_repeated(value: object, names: tuple[str, ...], where: str) -> None:
    """Refuse an object that gives one of the names twice, since which value is meant is not known.

    Raises:
        GeloraError: where it is.
    """
    if isinstance(value, RepeatedNames):
        for name in names:
            if name in value.repeated:
                raise GeloraError(f"{where}: {quote_name(name)} comes twice in one object; leave one")


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= LONGEST_INTEGER else Decimal(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    names = [name for name, _ in pairs]
    found = RepeatedNames(values)
    found.repeated = frozenset(name for name in values if names.count(name) > 1)
    return found
