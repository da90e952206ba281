"""The log of a run: on standard error and in its file."""

from __future__ import annotations

import logging
import os
import sys
import textwrap
from pathlib import Path
from typing import TextIO

from gelora_cli.core.messages import escape_controls

LOGGER = logging.getLogger("gelora")
LINE_FORMAT, TIME_FORMAT = "%(asctime)s %(message)s", "%H:%M:%S"
USUAL_WIDTH = 80
HANGING_INDENT = " " * len("hh:mm:ss ")


def setup_logging(file: Path | None = None, *, main: bool = True) -> None:
    """Log to standard error, and to `file`; processes other than the main one log only errors.

    What is logged with `LOGGER.debug` goes to the file alone: a command prints it on standard output by itself.
    """
    LOGGER.disabled = False  # Hydra disables every existing logger, which would silence a sweep from its second job on
    LOGGER.setLevel(logging.DEBUG if main else logging.ERROR)
    LOGGER.propagate = False
    # A sweep sets the log up once for each run, and each run has a file of its own.
    for handler in LOGGER.handlers[:]:
        LOGGER.removeHandler(handler)
        handler.close()
    stream = logging.StreamHandler(sys.stderr)
    stream.setLevel(logging.INFO)
    stream.setFormatter(_TerminalFormatter(LINE_FORMAT, TIME_FORMAT))
    LOGGER.addHandler(stream)
    if file is not None and main:
        file_handler = logging.FileHandler(file, encoding="utf-8")
        file_handler.setFormatter(_VisibleFormatter(LINE_FORMAT, TIME_FORMAT))
        LOGGER.addHandler(file_handler)
    logging.raiseExceptions = False  # a log that can't be written, as on a full disk, must not stop a run
    _quiet_libraries()


class _VisibleFormatter(logging.Formatter):
    """Escape control characters in log lines, since names and paths come from the user's files."""

    def format(self, record: logging.LogRecord) -> str:
        return escape_controls(super().format(record))


class _TerminalFormatter(_VisibleFormatter):
    """Wrap log lines at the width of the terminal, under their own text; a pipe gets them as they are.

    Of a message of several lines only the first is wrapped: below it stands a table.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not sys.stderr.isatty():
            return text
        first, *table = text.split("\n")
        wrapped = textwrap.wrap(
            first,
            terminal_width(sys.stderr),
            subsequent_indent=HANGING_INDENT,
            break_long_words=False,  # a path stays whole, so that it can be copied
            break_on_hyphens=False,
        )
        return "\n".join([*wrapped, *table])


def terminal_width(stream: TextIO) -> int:
    """Return the columns of the terminal that a stream writes to; 80 if that is not known."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_WIDTH
    except (OSError, ValueError):  # no terminal, or a stream without a file
        return USUAL_WIDTH


def _quiet_libraries() -> None:
    """Keep the libraries' own notices out of the log; gelora checks and reports what matters among them."""
    import warnings

    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    for name in ("httpx", "httpx2", "filelock", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # the launcher reports why a worker ended
