"""Waiting for what another process or thread does, with a deadline: a test fails instead of hanging."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 300.0
"""Far longer than anything takes on a busy machine: a guard against hanging, and no measurement."""


def wait_until(
    condition: Callable[[], bool], what: str, process: subprocess.Popen[Any] | None = None, pause: float = 0.002
) -> None:
    """Wait until a condition holds.

    Args:
        condition: looked at again and again.
        what: what is waited for, for the message.
        process: what makes it hold. It is killed where that takes too long.
        pause: seconds between two looks.

    Raises:
        AssertionError: the time is over, or the process has ended.
    """
    end = time.monotonic() + SECONDS
    while not condition():
        if process is not None and process.poll() is not None:
            if condition():  # it ended between the two looks
                return
            printed = process.communicate()
            raise AssertionError(f"no {what} when the process ended with {process.returncode}: {printed}")
        if time.monotonic() > end:
            if process is not None:
                process.kill()
            raise AssertionError(f"no {what} after {SECONDS:g} s")
        time.sleep(pause)


def wait_for_file(path: Path) -> None:
    """Wait until a file is there."""
    wait_until(path.exists, f"file {path.name}")


def wait_for_text(path: Path) -> str:
    """Wait until a file is there and not empty, and return what it holds."""
    wait_until(lambda: path.exists() and bool(path.read_text()), f"text in {path.name}")
    return path.read_text()
