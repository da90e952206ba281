"""What a worker of Ray does with a job: it runs a command line, and returns an exit code.

Only texts and numbers cross the cluster. This file imports nothing of ours, so that a worker has nothing to load.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

POLL_SECONDS = 0.1
"""Ray cancels a task by an interrupt that reaches Python code alone, so that waiting looks up this often."""
STOP_SECONDS = 120.0
"""Time for a last checkpoint, once the job is asked to stop."""
PR_SET_PDEATHSIG = 1


class JobKilledError(Exception):
    """The job was killed, as the system does where memory runs out; Ray starts it again, and it resumes."""


def run_command(arguments: Sequence[str], directory: str, variables: Mapping[str, str]) -> tuple[int, float]:
    """Run `python ARGUMENTS`, and return its exit code and how many seconds it took.

    Args:
        arguments: what follows the Python of this machine.
        directory: the working directory of the sweep, which relative paths begin at.
        variables: environment variables of the job.

    Raises:
        JobKilledError: it was killed.
    """
    begun = time.monotonic()
    command = [sys.executable, *arguments]
    environment = os.environ | variables
    # A job without its worker would hold the lock of the run that Ray starts again elsewhere.
    process = subprocess.Popen(command, cwd=directory, env=environment, preexec_fn=_die_with_worker)  # noqa: PLW1509
    try:
        while process.poll() is None:
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:  # the sweep was interrupted
        _stop(process)
    if process.returncode == -signal.SIGKILL:
        raise JobKilledError(f"killed after {time.monotonic() - begun:.0f} s")
    return process.returncode, time.monotonic() - begun


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Have the job stop with a checkpoint; one that does not is ended."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
        return
    process.send_signal(signal.SIGINT)  # a second signal: leave at once
    process.wait()


def _die_with_worker() -> None:
    """Have the kernel kill the job when the worker ends in any way."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
