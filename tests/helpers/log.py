"""What gelora's own logger says, whatever other handlers a test before has left anywhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from gelora_cli.core.logs import LOGGER


class _Lines(logging.Handler):
    """Keeps the message of every record."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def log_lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Collect the messages that gelora logs from here on, at INFO and above."""
    handler = _Lines()
    monkeypatch.setattr(LOGGER, "disabled", False)
    monkeypatch.setattr(LOGGER, "level", logging.INFO)
    LOGGER.addHandler(handler)
    yield handler.lines
    LOGGER.removeHandler(handler)
