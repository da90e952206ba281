"""Read every file once, and ask the hub once, while the rows of one run are found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_RESULTS: ContextVar[dict[str, Any] | None] = ContextVar("results of reading", default=None)


@contextmanager
def reading_once() -> Iterator[None]:
    """Let functions marked by `once_while_reading` read once within the block.

    A file that is written meanwhile, or a data set of the hub whose `main` moves, then can't give rows of two versions.
    What was read is let go at the end of the block.
    """
    if _RESULTS.get() is not None:  # a block within a block is a part of it
        yield
        return
    token = _RESULTS.set({})
    try:
        yield
    finally:
        _RESULTS.reset(token)


def once_while_reading(read: Callable[P, T]) -> Callable[P, T]:
    """Return a function that gives the same result for the same arguments within `reading_once`, and reads outside.

    Its arguments are told apart by their `repr`, so they must say there all that matters. Who gets the result must not
    change it. An error is not kept.
    """

    @wraps(read)
    def read_once(*args: P.args, **kwargs: P.kwargs) -> T:
        results = _RESULTS.get()
        if results is None:
            return read(*args, **kwargs)
        key = f"{read.__module__}.{read.__qualname__}{args!r}{kwargs!r}"
        if key not in results:
            results[key] = read(*args, **kwargs)
        result: T = results[key]
        return result

    return read_once
