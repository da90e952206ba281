"""The values and comments of the files in `configs/` agree with the declarations of the keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gelora_cli.config.keys import Key, declared_keys
from gelora_cli.config.schema import RunConfig
from gelora_cli.config.shipped import config_dir

FILES = {
    "run.yaml": "",
    "train/default.yaml": "train.",
    "profile/twonn.yaml": "profile.",
    "launch/local.yaml": "launch.",
}
"""Files that name keys with their defaults -> the section that each sets."""
DECLARED = {entry.name: entry for entry in declared_keys(RunConfig)}


def written(name: str, prefix: str) -> Iterator[tuple[Key, Any]]:
    """Yield the keys that a file sets, with their values."""
    values = yaml.safe_load((config_dir() / name).read_text(encoding="utf-8"))
    values.pop("defaults", None)
    for item, value in values.items():
        if isinstance(value, dict):
            yield from ((DECLARED[f"{item}.{inner}"], held) for inner, held in value.items())
        else:
            yield DECLARED[prefix + item], value


@pytest.mark.parametrize(("name", "prefix"), FILES.items(), ids=list(FILES))
def test_a_file_gives_the_defaults_of_the_declarations(name: str, prefix: str) -> None:
    for entry, value in written(name, prefix):
        assert value == entry.default, entry.name


@pytest.mark.parametrize(("name", "prefix"), FILES.items(), ids=list(FILES))
def test_the_comment_of_a_key_names_each_accepted_word(name: str, prefix: str) -> None:
    lines = Path(config_dir() / name).read_text(encoding="utf-8").splitlines()
    for entry, _ in written(name, prefix):
        line = next(line for line in lines if re.match(rf" *{re.escape(entry.last)}:", line))
        missing = [word for word in entry.declared.accepted() if not re.search(rf"(?<!\w){re.escape(word)}", line)]
        assert "#" not in line or not missing, (line, missing)
