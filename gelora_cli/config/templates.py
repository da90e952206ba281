"""Templates of prompts and completions: texts with the names of columns in braces, as `Question: {question}`."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import quote


@dataclass(frozen=True)
class Template:
    """A text with places for the values of columns.

    Attributes:
        parts: pairs of a text and the name of the column that follows it; None after the last text.
    """

    parts: tuple[tuple[str, str | None], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns, each once, in the order of the template."""
        return tuple(dict.fromkeys(name for _, name in self.parts if name is not None))

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text with the values of a row, by column, in their places.

        It is made in one pass, so that braces in a value stay as they are.
        """
        return "".join(text + ("" if name is None else values[name]) for text, name in self.parts)


def column_template(name: str) -> Template:
    """Return the template that gives a column as it is."""
    return Template((("", name),))


def parse_template(text: str, key: str) -> Template:
    """Return a template from its text, in which `{{` and `}}` stand for braces.

    Args:
        text: the template.
        key: the key of the configuration that it comes from, for messages.

    Raises:
        GeloraError: a brace that is never closed, or a place that is more or less than the name of a column.
    """
    setting = f"{key}={quote(text)}"
    fix = "{column} stands for the value of a column, {{ and }} for braces; correct the template"
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise GeloraError(f"{setting}: {error}; {fix}") from error
    parts: list[tuple[str, str | None]] = []
    for before, name, form, conversion in parsed:
        if name is not None and (not name.strip() or form or conversion):
            raise GeloraError(f"{setting}: a place holds the name of a column and nothing else; {fix}")
        parts.append((before, name))
    if not any(name for _, name in parts):
        raise GeloraError(f"{setting}: it names no column, so that all rows would be equal; {fix}")
    return Template(tuple(parts))
