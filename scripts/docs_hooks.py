"""Hooks of the documentation's build (`hooks` in mkdocs.yml): generated reference pages and their navigation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.reference import pages

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

SECTION = "Reference"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add every generated page that the navigation does not name to the section of the reference."""
    sections: list[dict[str, Any]] = config.nav or []
    reference = next(section[SECTION] for section in sections if SECTION in section)
    named = {next(iter(entry.values())) if isinstance(entry, dict) else entry for entry in reference}
    reference += [f"reference/{name}" for name in pages() if f"reference/{name}" not in named]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the files of the site."""
    from mkdocs.structure.files import File

    for name, text in pages().items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    return files
