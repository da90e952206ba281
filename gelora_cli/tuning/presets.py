"""Presets from a study: for each method a YAML file that `gelora run --config-dir` takes."""

from __future__ import annotations

from pathlib import Path

from gelora_cli.core.artifacts.study import Study


def write_presets(study: Study, directory: Path) -> tuple[Path, ...]:
    """Write the presets of a study into a directory of groups, and return their files; none so far."""
    return ()
