"""Tuned presets on the command line: the folder that `--config-dir` brings, and the keys that the user gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gelora_cli.config.shipped import config_dir
from gelora_cli.config.tuned import FOLDER
from gelora_cli.core.errors import GeloraError

INTERNAL = ("tuned_presets", "keys_given")
"""Keys of a run that `tuned_overrides` sets."""


def tuned_overrides(extra: Path | None, overrides: Sequence[str]) -> list[str]:
    """Return the overrides by which a run knows the tuned presets of a folder; none where it holds none.

    A configuration does not say whether a value is the user's or a default. So the keys that the user gave are named:
    those of the overrides, and those of the chosen experiment.

    Args:
        extra: the folder of `--config-dir`.
        overrides: those that the user typed.

    Raises:
        GeloraError: the experiment can't be read.
    """
    if extra is None or not (extra / FOLDER).is_dir():
        return []
    given = [text.partition("=")[0].lstrip("+~") for text in overrides]
    for text in overrides:
        name, _, option = text.partition("=")
        if name == "experiment":
            given += _experiment_keys(option.split(","), extra)
    keys = sorted({name for name in given if "." in name and not name.startswith("hydra")})
    quoted = str((extra / FOLDER).absolute()).replace("'", "\\'")
    return [f"tuned_presets='{quoted}'", f"keys_given=[{','.join(keys)}]"]


def is_internal(override: str) -> bool:
    """Return whether `tuned_overrides` has made an override."""
    return override.partition("=")[0] in INTERNAL


def _experiment_keys(options: Sequence[str], extra: Path) -> Iterator[str]:
    """Yield the keys that these experiments set, dotted."""
    import yaml

    for option in options:
        files = [folder / "experiment" / f"{option}.yaml" for folder in (config_dir(), extra)]
        for file in files:
            if file.is_file():
                try:
                    values = yaml.safe_load(file.read_text(encoding="utf-8"))
                except (yaml.YAMLError, ValueError) as error:
                    raise GeloraError(f"{file}: no YAML: {str(error).splitlines()[0]}") from error
                yield from _dotted(values if isinstance(values, dict) else {})
                break


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the keys of nested mappings, such as `train.epochs`."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
