"""What a run records about when and with which software it ran."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

PACKAGES = (
    "gelora",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "evaluate",
    "hydra-core",
    "omegaconf",
    "numpy",
    "tokenizers",
)
"""Packages whose versions a run records, since they can change a number."""
OPTIONAL_PACKAGES = ("bitsandbytes",)
"""Those that only an extra installs."""


def utc_now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the version of Python and of each installed package that can change a number."""
    installed = {"python": platform.python_version()}
    for name in (*PACKAGES, *OPTIONAL_PACKAGES):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


def git_commit() -> str | None:
    """Return the commit of the checkout that gelora runs from, with `+` if files are changed; None in a wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        is_changed = bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):  # no git on this machine, or not our repository
        return None
    return head + ("+" if is_changed else "")


def git_takes(path: Path) -> bool:
    """Return whether `git add` would take a file: it is in a checkout whose rules do not ignore it."""
    try:
        # Exit code 0: it is ignored; 1: it is not, or it is tracked all the same; 128: no checkout.
        command = ["git", "-C", str(path.parent), "check-ignore", "--quiet", "--", path.name]
        return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 1
    except (OSError, subprocess.SubprocessError):  # no git on this machine
        return False


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
