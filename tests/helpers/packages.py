"""Installed packages of plug-ins, as pip would leave them in a folder of `sys.path`."""

from __future__ import annotations

from pathlib import Path


def install_package(site: Path, name: str, files: dict[str, str]) -> Path:
    """Write a package with an entry point of its name in `gelora.plugins`, and return its folder."""
    root = site / name
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[gelora.plugins]\n{name} = {name}\n")
    return root
