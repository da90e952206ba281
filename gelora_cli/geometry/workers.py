"""Threads that share the rows of a search."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

import torch


@dataclass
class _Shared:
    """The workers of all searches that are under way, and how many threads torch had before the first."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    threads: int = 1
    workers: ThreadPoolExecutor | None = None


_SHARED = _Shared()


@contextlib.contextmanager
def row_workers() -> Iterator[Executor]:
    """Give torch's threads to workers that share rows; meanwhile a single operation uses one thread.

    Searches on several threads share the workers. A worker must not wait for another one.
    """
    with _SHARED.lock:
        if _SHARED.workers is None:
            _SHARED.threads = torch.get_num_threads()
            _SHARED.workers = ThreadPoolExecutor(_SHARED.threads, initializer=torch.set_num_threads, initargs=(1,))
            torch.set_num_threads(1)
        _SHARED.users += 1
        workers = _SHARED.workers
    try:
        yield workers
    finally:
        with _SHARED.lock:
            _SHARED.users -= 1
            if not _SHARED.users:
                workers.shutdown()
                _SHARED.workers = None
                torch.set_num_threads(_SHARED.threads)
