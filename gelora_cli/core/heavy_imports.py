"""Import large libraries in less time."""

from __future__ import annotations

import gc
import importlib
import sys


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
        for name in missing:
            importlib.import_module(name)
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
