"""Values of a user's as parts of a message: short, on one line, with nothing in them that a terminal obeys."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable

LONGEST_VALUE = 60
LONGEST_LIST = 240

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = LONGEST_VALUE


def shown(value: object) -> str:
    """Return a value as Python writes it, cut to 60 characters; deep, huge or broken values included."""
    try:
        text = _SHORT.repr(value).encode(errors="backslashreplace").decode()
    except ValueError:  # an integer of more digits than Python writes
        text = f"a value of type {type(value).__name__} that is too long to show"
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def shown_name(name: object) -> str:
    """Return a name (of a column, a label, a file) without quotes around it where it needs none."""
    text = str(name)
    return text if text.isprintable() and text and len(text) <= LONGEST_VALUE else shown(text)


def shown_path(path: object) -> str:
    """Return a path as it is, or its end where it would fill a message."""
    text = str(path).encode(errors="backslashreplace").decode()
    if len(text) > LONGEST_LIST:
        text = f"...{text[-LONGEST_VALUE:]} ({len(text):,} characters)"
    return text if text.isprintable() else repr(text)


def listed(names: Iterable[object]) -> str:
    """Return names with commas between them, those at the end left out where they would fill a message."""
    texts = [shown_name(name) for name in names]
    length = 0
    for position, text in enumerate(texts):
        length += len(text) + 2
        if length > LONGEST_LIST:
            return f"{', '.join(texts[:position])} and {len(texts) - position:,} more"
    return ", ".join(texts)


def is_broken(text: str) -> bool:
    """Say whether a text holds half of a surrogate pair, which JSON can write and neither UTF-8 nor a tokenizer can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
