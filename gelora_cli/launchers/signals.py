"""Signals that ask a run to stop: training ends after its step with a checkpoint, anything else at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from gelora_cli.core.errors import StoppedError

ONE_SECONDS = 1.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
WORKER_OF = "GELORA_WORKER_OF"  # in a worker's environment: the process that started it


class SignalHandler:
    """Records whether a signal has asked to stop; inside `defer_interrupts` the work itself must look."""

    def __init__(self) -> None:
        self.requested = False
        self.number = 0
        self.asked = 0.0
        self.is_deferred = False

    @contextlib.contextmanager
    def defer_interrupts(self, value: bool = True) -> Iterator[None]:
        """Let the work end by itself when it next looks, or (`False`) within that be interrupted at once again.

        Raises:
            StoppedError: it was asked to stop before an inner part that may be interrupted.
        """
        before, self.is_deferred = self.is_deferred, value
        try:
            if self.requested and not value:
                raise StoppedError("interrupted; give the same command again to go on")
            yield
        finally:
            self.is_deferred = before

    def handle(self, number: int, _: FrameType | None) -> None:
        """The first signal asks; a later one leaves at once, and what was running is seen as interrupted.

        A system that signals every process of a job reaches a worker twice, directly and through its parent: what
        comes within `ONE_SECONDS` is one request.
        """
        now = time.monotonic()
        if self.requested:
            if now - self.asked > ONE_SECONDS:
                os._exit(StoppedError.exit_code)
            return
        self.requested, self.number, self.asked = True, number, now
        if not self.is_deferred:
            raise stopped_by(number)
        if WORKER_OF not in os.environ:  # else its parent says so
            name = signal.Signals(number).name
            with contextlib.suppress(OSError):  # after SIGHUP the terminal is gone
                os.write(2, f"gelora: {name}: stopping after this step; again to leave at once\n".encode())


def stopped_by(number: int) -> StoppedError:
    """What ends the work after a signal."""
    return StoppedError(f"interrupted by {signal.Signals(number).name}; give the same command again to go on")


@contextlib.contextmanager
def handle_signals() -> Iterator[SignalHandler]:
    """Handle the signals by a new request while the work goes on; outside the main thread nothing is handled.

    SIGHUP, of a terminal that is closed, is among them unless `nohup` has it ignored.
    """
    stop = SignalHandler()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = [*SIGNALS] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [*SIGNALS, signal.SIGHUP]
    before = {number: signal.signal(number, stop.handle) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
