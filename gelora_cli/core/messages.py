"""Values from users, files and libraries inside a message: short, on one line, without control characters."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable

LONGEST_VALUE = 60
"""Characters of a user's value that a message quotes."""
LONGEST_LIST = 240
"""Characters of a list of names in a message."""
LONGEST_LINE = 300
"""Characters of another library's error that a message quotes."""

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]|\r(?!\n)")
"""Characters that a terminal obeys or can't show: controls except tab and line end, direction marks, surrogates."""
LINE_BREAKS = re.compile(r"[\t\n\r\u2028\u2029]")
FORMULA_START = ("=", "+", "-", "@", "\t", "\r")
MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{character: f"\\{character}" for character in "\\|`[]"}}
PAIRED_SIGNS = "*~$"
"""Signs that mean emphasis, a struck text or a formula in Markdown where two of them stand around a text."""
OUTER_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
"""An underscore at an end of a word, which may mean emphasis; one within a word does not."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = LONGEST_VALUE


def quote(value: object) -> str:
    """Return a value's repr, cut to 60 characters; deep, huge or broken values are accepted."""
    try:
        text = _SHORT.repr(value).encode(errors="backslashreplace").decode()
    except ValueError:  # Python refuses to print an integer of thousands of digits
        text = f"a value of type {type(value).__name__} that is too long to show"
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def quote_name(name: object) -> str:
    """Return the name of a column, label or file for a message, with quotes around it only if it needs them."""
    text = str(name)
    return text if text.isprintable() and text and len(text) <= LONGEST_VALUE else quote(text)


def quote_path(path: object) -> str:
    """Return a path for a message: unchanged, or only its end if it would fill the message."""
    text = str(path).encode(errors="backslashreplace").decode()
    if len(text) > LONGEST_LIST:
        text = f"...{text[-LONGEST_VALUE:]} ({len(text):,} characters)"
    return text if text.isprintable() else repr(text)


def join_names(names: Iterable[object], *, most: int | None = None) -> str:
    """Return names joined by commas; those after the first `most`, or that would fill the message, are only counted."""
    return join_texts((quote_name(name) for name in names), most=most)


def join_texts(parts: Iterable[str], *, most: int | None = None) -> str:
    """Return texts, whose names are quoted already, as `join_names` joins names; the first is always among them."""
    texts = [*parts]
    length = 0
    for position, text in enumerate(texts):
        length += len(text) + 2
        if position == most or (position and length > LONGEST_LIST):
            return f"{', '.join(texts[:position])} and {len(texts) - position:,} more"
    return ", ".join(texts)


def suggest(name: str, accepted: Iterable[str]) -> str:
    """Return `accepted: a, b, c`, after `did you mean b?` if one of them is close to `name`."""
    names = sorted(accepted)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean {quote_name(close[0])}? " if close else ""
    return f"{hint}accepted: {join_names(names) or 'none'}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without its middle if it is long."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    half = LONGEST_LINE // 2
    return line if len(line) <= LONGEST_LINE else f"{line[:half]}...{line[-half:]}"


def has_lone_surrogate(text: str) -> bool:
    """Return whether a text holds half of a surrogate pair, which JSON can write but UTF-8 and tokenizers can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def escape_controls(text: str, *, one_line: bool = False) -> str:
    r"""Return a text in which control characters are written as `\u001b`, so that a terminal obeys none of them.

    The escapes are those of JSON, so that JSON stays valid. `one_line` also escapes tabs and line ends.
    """
    text = CONTROL.sub(_json_escape, text)
    return LINE_BREAKS.sub(_json_escape, text) if one_line else text


def _json_escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def escape_markdown(text: str) -> str:
    """Return a text on one line that Markdown shows as it is: no HTML, link, table cell, emphasis or formula."""
    text = "".join(MARKDOWN.get(character, character) for character in escape_controls(text, one_line=True))
    for sign in PAIRED_SIGNS:
        if text.count(sign) > 1:
            text = text.replace(sign, f"\\{sign}")
    return OUTER_UNDERSCORE.sub(r"\\_", text)


def markdown_code(text: str) -> str:
    """Return a text as Markdown's inline code, whatever backticks it holds."""
    text = escape_controls(text, one_line=True)
    longest_run = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest_run + 1)  # code ends at the first run of as many backticks as it began with
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def escape_formula(text: str) -> str:
    """Return a cell of a CSV file that no spreadsheet takes for a formula; numbers stay numbers."""
    if not text.startswith(FORMULA_START):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def teraflop(operations: float) -> str:
    """Return floating-point operations in units of 10^12 with three digits, such as `3.41`."""
    value = operations / 1e12
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
