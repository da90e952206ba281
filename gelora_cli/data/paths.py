"""Say what is at a path from the user; at a path that no file system accepts there is nothing."""

from __future__ import annotations

import os
from pathlib import Path

# The methods of Path raise an error for some names, such as one of 300 characters. Those of os.path return False.


def exists(path: Path) -> bool:
    """Return whether a file or a directory is at this path."""
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: Path) -> bool:
    """Return whether a file is at this path."""
    return os.path.isfile(path)  # noqa: PTH113


def is_directory(path: Path) -> bool:
    """Return whether a directory is at this path."""
    return os.path.isdir(path)  # noqa: PTH112
