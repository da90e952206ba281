"""Progress of long loops: a bar on a terminal, lines in the log elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gelora_cli.core.logs import LOGGER

if TYPE_CHECKING:
    from tqdm import tqdm

PROGRESS_SECONDS = 30.0
"""Time between two lines in the log."""


def progress(total: int, unit: str, label: str, *, enabled: bool) -> tqdm[Any] | ProgressLog:
    """Return a progress bar with rate and time left, or without a terminal an object that writes lines to the log."""
    if not sys.stderr.isatty():
        return ProgressLog(total, unit, label, enabled=enabled)
    from tqdm import tqdm

    return tqdm(total=total, unit=unit, desc=label, disable=not enabled, mininterval=0.2, leave=False)


class ProgressLog:
    """Progress as a line in the log every `PROGRESS_SECONDS`, with those methods of tqdm's bar that gelora uses."""

    def __init__(self, total: int, unit: str, label: str, *, enabled: bool) -> None:
        self.total, self.unit, self.label, self.enabled = total, unit, label, enabled
        self.count = 0
        self.first_update: tuple[float, int] | None = None
        """Time of the first update, and the count after it."""
        self.last_line = time.monotonic()
        self.values = ""

    def __enter__(self) -> ProgressLog:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing, since there is nothing to close."""

    def set_postfix(self, *, refresh: bool = True, **values: object) -> None:
        """Set values, such as a loss, that the next line shows."""
        self.values = "".join(f", {name} {value}" for name, value in values.items())

    def update(self, count: int) -> None:
        """Count finished units, and log a line if the last one is old enough."""
        now = time.monotonic()
        self.count += count
        if self.first_update is None:
            # After the first update, since a resumed training begins with the many units of the earlier process.
            self.first_update = (now, self.count)
        if self.enabled and now - self.last_line >= PROGRESS_SECONDS:
            self.last_line = now
            self._log(now)

    def _log(self, now: float) -> None:
        assert self.first_update is not None
        first_time, first_count = self.first_update
        rate = (self.count - first_count) / max(now - first_time, 1e-9)  # units per second
        # Of a single long update no rate is known yet.
        pace = f", {rate:.1f} {self.unit}/s, about {(self.total - self.count) / rate / 60:.1f} min left" if rate else ""
        percent = 100 * self.count / max(self.total, 1)
        LOGGER.info(f"{self.label}: {self.count:,} of {self.total:,} {self.unit} ({percent:.0f} %){pace}{self.values}")


@contextlib.contextmanager
def log_through_progress() -> Iterator[None]:
    """Print log lines above the progress bar instead of through it."""
    if not sys.stderr.isatty():
        yield
        return
    from tqdm.contrib.logging import logging_redirect_tqdm

    with logging_redirect_tqdm(loggers=[LOGGER]):
        yield
