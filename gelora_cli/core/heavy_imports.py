"""Import large libraries in less time."""

from __future__ import annotations

import gc
import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def import_heavy(*names: str) -> None:
    """Import modules with the garbage collector off, and leave what is there then out of its later collections.

    Torch and transformers make 670,000 objects that stay and hardly any garbage. Collections, a thousand in all, take a
    sixth of the time of these imports. Where the modules are there already, nothing is done: a model that an earlier
    run of this process has left behind can be collected.
    """
    missing = [name for name in names if name not in sys.modules]
    if not missing:
        return
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with without_hub_kernels():
            for name in missing:
                importlib.import_module(name)
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextmanager
def without_hub_kernels() -> Iterator[None]:
    """Hide the package `kernels`, by which bitsandbytes fetches code from the hub on import.

    It does so where a CPU has AVX-512 BF16. PEFT imports bitsandbytes wherever it is installed.
    """
    hidden, log = sys.modules.get("kernels"), logging.getLogger("bitsandbytes")
    level = log.level
    sys.modules["kernels"] = None  # type: ignore[assignment]  # so that importing it fails
    log.setLevel(logging.ERROR)  # it would warn that it could not fetch
    try:
        yield
    finally:
        log.setLevel(level)
        if hidden is None:
            del sys.modules["kernels"]
        else:
            sys.modules["kernels"] = hidden
