"""Paths and names in a configuration: hub ids, words that are safe as a directory."""

from __future__ import annotations

import re
from pathlib import Path

from gelora_cli.config.input_schema import DataConfig, TaskConfig
from gelora_cli.core.files import expand_home
from gelora_cli.core.hub_ids import is_hub_id


def slug(name: str) -> str:
    """Turn a name into one that is safe for a directory: letters, digits, `.`, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "custom"


def local_or_hub(text: str, *, one_word: bool = False) -> str:
    """Return a path from the root, or the hub id unchanged (see `is_hub_id`)."""
    return text if is_hub_id(text, one_word=one_word) else str(Path(expand_home(text)).absolute())


def absolute(path: str | None) -> str | None:
    """Return a path from the root, with `~` as the home directory; None stays None."""
    return None if path is None else str(Path(expand_home(path)).absolute())


def own_task_name(task: TaskConfig, data: DataConfig) -> str:
    """Return the task's name; one on the user's own data is named after its file."""
    source = (data.instruct or "instruct") if task.source == "instruct" else (data.text or "text")
    return task.name or slug(Path(source).stem)
