"""Signals that ask a run to stop: training ends after its step with a checkpoint, any other work at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from gelora_cli.core.errors import StoppedError

ONE_REQUEST_SECONDS = 1.0
"""Signals within this time are one request."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
WORKER_OF = "GELORA_WORKER_OF"
"""Environment variable of a worker with the pid of the process that started it."""


class SignalHandler:
    """Records whether a signal has asked to stop. Inside `defer_interrupts` the work itself must look.

    Attributes:
        requested: whether a signal has come.
        number: the number of that signal.
    """

    def __init__(self) -> None:
        self.requested = False
        self.number = 0
        self._time = 0.0  # when the signal came, by the monotonic clock
        self._is_deferred = False

    @contextlib.contextmanager
    def defer_interrupts(self, value: bool = True) -> Iterator[None]:
        """Let the work end by itself when it next looks, or with False, inside such a block, interrupt it at once.

        Raises:
            StoppedError: a signal came before an inner block that may be interrupted.
        """
        before, self._is_deferred = self._is_deferred, value
        try:
            if self.requested and not value:
                raise StoppedError("interrupted; give the same command again to resume")
            yield
        finally:
            self._is_deferred = before

    def handle(self, number: int, _: FrameType | None) -> None:
        """Record the first signal, and leave at once on a later one; the run is then seen as interrupted.

        A system that signals every process of a job reaches a worker twice, directly and through its parent. Signals
        within `ONE_REQUEST_SECONDS` therefore count as one.
        """
        now = time.monotonic()
        if self.requested:
            if now - self._time > ONE_REQUEST_SECONDS:
                os._exit(StoppedError.exit_code)
            return
        self.requested, self.number, self._time = True, number, now
        if not self._is_deferred:
            raise stopped_by(number)
        if WORKER_OF not in os.environ:  # the parent of a worker prints this for all of them
            name = signal.Signals(number).name
            with contextlib.suppress(OSError):  # after SIGHUP the terminal is gone
                os.write(2, f"gelora: {name}: stopping after this step; again to leave at once\n".encode())


def stopped_by(number: int) -> StoppedError:
    """Return the error that ends the work after a signal."""
    return StoppedError(f"interrupted by {signal.Signals(number).name}; give the same command again to resume")


@contextlib.contextmanager
def handle_signals() -> Iterator[SignalHandler]:
    """Handle the signals while the work goes on; outside the main thread, where Python forbids it, handle none.

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
