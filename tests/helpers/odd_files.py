"""What may stand where gelora keeps a file: links and second names of other files."""

from __future__ import annotations

from pathlib import Path


def linked(path: Path) -> None:
    (path.parent / "other.txt").write_text("mine")
    path.symlink_to(path.parent / "other.txt")


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def second_name(path: Path) -> None:
    (path.parent / "other.txt").write_text("mine")
    path.hardlink_to(path.parent / "other.txt")
