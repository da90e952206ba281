"""What gelora itself brings: its presets, and the models that it knows by their weights; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from gelora_cli.core.files import expand_home, file_sha256

WEIGHTS = "model.safetensors"


@cache
def config_dir() -> Path:
    """Return the folder of the configuration groups: inside the package in a wheel, next to it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


@cache
def shipped_presets(configs: Path) -> frozenset[tuple[tuple[str, str], ...]]:
    """Return the content of every preset in gelora's own task and method YAML files, as `preset_content` gives it.

    A preset that is not among them comes from the user, whichever file it was merged into.
    """
    files = [*(configs / "task").glob("*.yaml"), *(configs / "method").glob("*.yaml")]
    return frozenset(preset_content(preset) for file in files for preset in _presets(_read_yaml(file)))


def preset_content(preset: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what a preset sets, in a form that can be compared: keys without a value are left out."""
    return tuple(sorted((key, repr(value)) for key, value in preset.items() if value is not None))


def known_model(configs: Path, path: str) -> str | None:
    """Return the name of gelora's own model that lies under `path`, a directory or a hub id; None of any other.

    A directory is recognised by the sha256 of its weights, which is read only where their size fits.
    """
    weights = Path(expand_home(path)) / WEIGHTS
    for name, model in _shipped_models(configs).items():
        if path == model.get("hub"):
            return name
        if model.get("sha256") and weights.is_file() and weights.stat().st_size == model.get("bytes"):
            stat = weights.stat()
            if _weights_sha256(weights, stat.st_size, stat.st_mtime_ns) == model["sha256"]:
                return name
    return None


@cache
def _shipped_models(configs: Path) -> dict[str, dict[str, Any]]:
    models = [_read_yaml(file) for file in sorted((configs / "model").glob("*.yaml"))]
    return {model["name"]: model for model in models}


@cache
def _weights_sha256(weights: Path, size: int, modified: int) -> str:
    """Return the sha256 of a file, read once as long as its size and time stay the same."""
    return file_sha256(weights)


def _presets(values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for by_model in values.get("presets", {}).values():
        yield from by_model.values()


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml  # here, so that a missing package can be named without it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml takes a seventh of the time
    values: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)
    return values
