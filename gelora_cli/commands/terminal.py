"""Lines for the user: wrapped at the width of a terminal, whole in a pipe or a file."""

from __future__ import annotations

import sys
import textwrap
from typing import TextIO

from gelora_cli.core.logs import terminal_width

LABEL_WIDTH = 10


def wrapped(text: str, *, first_indent: str = "", indent: str = "  ", stream: TextIO | None = None) -> str:
    """Return one line, wrapped at words where a stream is a terminal; a path stays whole, to be copied.

    Args:
        text: the line.
        first_indent: what stands in front of it.
        indent: what stands in front of its other parts.
        stream: where it will be printed, by default standard output.
    """
    stream = stream or sys.stdout
    if not stream.isatty():
        return first_indent + text
    return textwrap.fill(
        text,
        terminal_width(stream),
        initial_indent=first_indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def labelled(label: str, text: str) -> str:
    """Return a line with its label in front, wrapped under its own text."""
    return wrapped(text, first_indent=f"{label + ':':<{LABEL_WIDTH}}" if label else "", indent=" " * LABEL_WIDTH)


def next_commands(*commands: str) -> str:
    """Return commands that a reader may type next, each ready to be pasted."""
    return "\n".join(["next:", *(f"  {command}" for command in commands)])
