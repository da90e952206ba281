"""What lies under a path of the user's; a name that no file system takes (300 characters) stands for nothing."""

from __future__ import annotations

import os
from pathlib import Path


def exists(path: Path) -> bool:
    """Say whether a file or directory is there; other than `Path.exists` it raises for no path."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises where a name is too long


def is_file(path: Path) -> bool:
    """Say whether a file is there."""
    return os.path.isfile(path)  # noqa: PTH113


def is_directory(path: Path) -> bool:
    """Say whether a directory is there."""
    return os.path.isdir(path)  # noqa: PTH112
