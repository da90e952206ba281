"""Shared by the tests of several packages, first met in test_config.py."""

from __future__ import annotations

from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from gelora_cli.commands.main import register_schemas
from gelora_cli.config.shipped import config_dir


def composed(*overrides: str, name: str = "run") -> Any:
    register_schemas()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return OmegaConf.to_object(compose(name, list(overrides)))
