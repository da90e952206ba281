"""Paths and names in a configuration: home directories, hub ids, words that are safe as a directory."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gelora_cli.config.input_schema import DataConfig, TaskConfig


def slug(name: str) -> str:
    """Turn a name into one that is safe for a directory: letters, digits, `.`, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "custom"


def expand_home(path: str) -> str:
    """Return a path with a leading `~` or `~user` as that home directory; as it is where there is none."""
    return os.path.expanduser(path)  # noqa: PTH111 - Path's own raises a RuntimeError where there is none


def local_or_hub(text: str) -> str:
    """Return an absolute path where `text` is or looks like a path, else the hub id unchanged."""
    path = Path(expand_home(text))
    looks_local = text.startswith((".", "/", "~")) or text.count("/") != 1 or path.parent.is_dir()
    return str(path.absolute()) if looks_local or path.exists() else text


def absolute(path: str | None) -> str | None:
    """Return a path from the root, with `~` as the home directory; None stays None."""
    return None if path is None else str(Path(expand_home(path)).absolute())


def own_task_name(task: TaskConfig, data: DataConfig) -> str:
    """Return the task's name; one on the user's own data is named after its file."""
    source = (data.instruct or "instruct") if task.source == "instruct" else (data.text or "text")
    return task.name or slug(Path(source).stem)
