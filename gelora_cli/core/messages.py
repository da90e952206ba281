"""Values of a user's as parts of a message: short, on one line, with nothing in them that a terminal obeys."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable

LONGEST_VALUE = 60
LONGEST_LIST = 240
LONGEST_LINE = 300
"""Characters of another library's error that a message quotes."""

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]|\r(?!\n)")
"""What a terminal obeys or can't show, beside tabs and line ends; changes of direction and surrogates, too."""
LINE_BREAKS = re.compile(r"[\t\n\r\u2028\u2029]")
FORMULA_START = ("=", "+", "-", "@", "\t", "\r")
MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{character: f"\\{character}" for character in "\\|`[]"}}

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


def nearest(name: str, accepted: Iterable[str]) -> str:
    """Return `accepted: a, b, c`, preceded by the nearest of them to `name` if one is near; many are cut short."""
    names = sorted(accepted)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean {shown_name(close[0])}? " if close else ""
    return f"{hint}accepted: {listed(names)}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without its middle if it is long."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    half = LONGEST_LINE // 2
    return line if len(line) <= LONGEST_LINE else f"{line[:half]}...{line[-half:]}"


def is_broken(text: str) -> bool:
    """Say whether a text holds half of a surrogate pair, which JSON can write and neither UTF-8 nor a tokenizer can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def visible(text: str, *, one_line: bool = False) -> str:
    r"""Return a text in which nothing is obeyed by a terminal: escape sequences and the like as `\u001b`.

    The form is that of JSON, so that JSON stays what it is. With `one_line` tabs and line ends are written so, too.
    """
    text = CONTROL.sub(_escaped, text)
    return LINE_BREAKS.sub(_escaped, text) if one_line else text


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def markdown_text(text: str) -> str:
    """Return a text as Markdown shows it, on one line: no HTML, no link, no table cell comes of it."""
    return "".join(MARKDOWN.get(character, character) for character in visible(text, one_line=True))


def markdown_code(text: str) -> str:
    """Return a text as Markdown's code within a line, whatever backticks it holds."""
    shown = visible(text, one_line=True)
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    return f"{fence} {shown} {fence}" if "`" in shown else f"{fence}{shown}{fence}"


def spreadsheet_text(text: str) -> str:
    """Return a cell of a CSV file that no spreadsheet takes for a formula; numbers stay numbers."""
    if not text.startswith(FORMULA_START):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
