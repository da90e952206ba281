"""A run's configuration as a file: plain YAML, frozen and typed."""

from __future__ import annotations

import contextlib
import functools
import re
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten
from typing import Any, cast

import yaml

from gelora_cli.config.schema import RunConfig
from gelora_cli.config.typed import typed
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import read_text, write_atomic
from gelora_cli.core.run_files import CONFIG
from gelora_cli.core.run_reader import RunFiles, as_run_files

SECTION_START = re.compile(r"\n(?=[a-z_]+:)")
"""Where a top-level key of a saved configuration begins, beside the first."""


LIBYAML_CHARACTERS = 10_000
"""Sections up to this length go to libyaml: 20,000 characters nest too little to overflow its stack."""


def write_config(config: RunConfig, path: Path) -> None:
    """Freeze a completed configuration: nothing interpolated, nothing to compose again."""
    write_atomic(path, config_text(config))


def config_text(config: RunConfig) -> str:
    """Return a configuration as plain YAML, which `read_config` reads."""
    return str(yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True))


def read_config(path: Path) -> RunConfig:
    """Read a frozen configuration. A text with `${...}` in it is a text like any other.

    Raises:
        GeloraError: it is missing, damaged or edited into something that the schema refuses.
    """
    return parse_config(read_text(path, "a run's configuration"), str(path))


def config_of(run: RunFiles | Path) -> RunConfig:
    """Return the frozen configuration of a run.

    Raises:
        GeloraError: it is missing, damaged or edited into something that the schema refuses.
    """
    files = as_run_files(run)
    return parse_config(files.text(CONFIG, "a run's configuration"), str(files.place / CONFIG))


def parse_config(text: str, source: str = "text", keys: type = RunConfig) -> RunConfig:
    """Parse what `config_text` wrote.

    Args:
        text: the text.
        source: what errors call it.
        keys: the dataclass of the configuration, of a command with the keys of a run.

    Raises:
        GeloraError: it is damaged or edited into something that the schema refuses.
    """
    try:
        return cast(RunConfig, typed(keys, _plain_yaml(text)))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = shorten(" ".join(str(error).split()), 300)
        raise GeloraError(f"{source} can't be read as a run's configuration: {reason}") from error


def _plain_yaml(text: str) -> Any:
    """Return the values of a text of plain YAML.

    Runs share most of their sections, so that each section is parsed alone and once for equal texts. A text that is
    not made of sections, as after an edit, is parsed as a whole.
    """
    values: dict[str, Any] = {}
    with contextlib.suppress(yaml.YAMLError, ValueError):
        for section in SECTION_START.split(text):
            values |= dict(_parsed_section(section))
        return values
    return yaml.safe_load(text)


@functools.lru_cache(maxsize=512)
def _parsed_section(text: str) -> dict[str, Any]:
    """Return one top-level key of a configuration with its value, not to be changed by the caller.

    Raises:
        yaml.YAMLError, ValueError: the text is something else.
    """
    # libyaml is ten times as fast, but overflows the stack of a text that is nested too deeply, and refuses surrogates.
    plain = len(text) <= LIBYAML_CHARACTERS and text.isascii() and r"\u" not in text.lower()
    values = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader) if plain else yaml.SafeLoader)
    if not isinstance(values, dict) or len(values) != 1:
        raise ValueError("not one key with its value")
    return values
