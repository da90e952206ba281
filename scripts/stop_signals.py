"""Signals that stop a script that runs commands: they are handed to it, and given back at the end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def handed_to(stop: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Call `stop` on Ctrl-C and SIGTERM while the work goes on."""
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
