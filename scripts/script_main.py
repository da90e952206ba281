"""What scripts that a user calls have in common: errors as one message, and signals that stop what they run."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

from gelora_cli.core.errors import GeloraError


def exit_code(name: str, work: Callable[[], int]) -> int:
    """Return the exit code of a script's work; 2 where what it was given is wrong, with the message under its name."""
    try:
        return work()
    except GeloraError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2


@contextlib.contextmanager
def handed_to(stop: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Call `stop` on Ctrl-C and SIGTERM while the work goes on."""
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
