"""Shared by the tests of several packages, first met in test_config.py."""

from __future__ import annotations

from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from gelora_cli.commands.hydra_app import hydra_name, register_schemas
from gelora_cli.config.composing import composed_config
from gelora_cli.config.shipped import config_dir


def composed(*overrides: str, name: str = "run") -> Any:
    """Return a command's configuration as Hydra composes it, a new object at each call."""
    return composed_config(_composed(overrides, name))


@cache
def _composed(overrides: tuple[str, ...], name: str) -> DictConfig:
    """Compose these overrides once: Hydra takes a tenth of a second for it, and its files don't change."""
    register_schemas(name)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose(hydra_name(name), list(overrides))
