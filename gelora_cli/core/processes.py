"""CPU cores and threads, and how worker processes start and end."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import NoReturn

from gelora_cli.core.errors import RunError
from gelora_cli.core.memory import LESS_MEMORY

PR_SET_PDEATHSIG = 1
"""Linux's `prctl` option that names the signal sent when the parent ends."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
TORCH_SECONDS = 120.0
"""How long a new process may take to import torch and answer, which a busy machine needs at times."""


def usable_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # what a container or a job scheduler allows, not what the machine has
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def limit_omp_threads(processes: int) -> Iterator[None]:
    """Give each of several CPU processes an equal share of the cores, unless the user set OMP_NUM_THREADS."""
    before = os.environ.get("OMP_NUM_THREADS")
    if before is None and processes > 1:
        os.environ["OMP_NUM_THREADS"] = str(max(1, usable_cores() // processes))
    try:
        yield
    finally:
        if before is None:  # only the workers that were started meanwhile keep the limit
            os.environ.pop("OMP_NUM_THREADS", None)


def thread_settings() -> str:
    """Return the environment variables that set the number of CPU threads, as `NAME=VALUE NAME=VALUE`."""
    return " ".join(f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ)


def worker_threads(processes: int) -> int:
    """Return the CPU threads that each of `processes` workers started from here will compute with.

    The environment alone does not say (MKL takes at most as many threads as there are cores), so this starts a process
    as the workers are started and asks it.

    Raises:
        RunError: it gives no answer.
    """
    import torch

    if processes == 1:
        return torch.get_num_threads()
    with limit_omp_threads(processes):
        answer = ask_torch("torch.get_num_threads()")
    if answer is None:
        raise RunError("the CPU threads of a worker can't be asked for: a new process can't import torch")
    return int(answer)


def ask_torch(expression: str) -> str | None:
    """Return what an expression of torch's gives in a new process; None if the process fails.

    Raises:
        RunError: it does not answer in time.
    """
    command = [sys.executable, "-c", f"import torch; print({expression})"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TORCH_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise RunError(
            f"{expression} of a new process gave no answer within {TORCH_SECONDS:g} s: this machine or the disk that "
            "torch lies on is too busy. Give the same command again when it is less so."
        ) from error
    return done.stdout if done.returncode == 0 else None


@contextlib.contextmanager
def offline_workers() -> Iterator[None]:
    """Let worker processes use what the parent already fetched, without asking the hub again."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent, the process `parent`, ends in any way; only on Linux.

    Without a `number`, this process is killed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # the parent ended before the kernel was asked
        os._exit(1)


def end_process(code: int) -> NoReturn:
    """End this process after its exit handlers, but not through the end of the interpreter.

    A thread of a library that still runs there can abort the process, and work whose files are all written would count
    as failed.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def describe_exit_status(code: int, advice: str = LESS_MEMORY) -> str:
    """Return in words how a process ended without an error message, from its exit code (-n after signal n).

    `advice` says what to do if it ran out of memory.
    """
    if code >= 0:
        return f"ended with exit code {code}"
    name = _signal_name(-code)
    if -code != signal.SIGKILL:
        return f"was ended by {name}"
    cause = f"was ended by {name}, which the system sends when memory runs out"
    return f"{cause}. If it did: {advice}" if advice else cause


def _signal_name(number: int) -> str:
    """Return the name of a signal; most real-time signals have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
