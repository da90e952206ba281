"""Text from the command line that Hydra must not interpret: `${...}` is protected before, and restored after."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

INTERPOLATION = re.compile(r"\$\{[^{}]*\}|\$\{")
"""An interpolation of OmegaConf, complete or only begun."""
PROTECTED = "gelora_text_"
RESTORED = re.compile(rf"{PROTECTED}((?:[0-9a-f]{{2}})+)_")


def protect_text(override: str) -> str:
    """Return an override in which `${...}` is written as a word that Hydra has no meaning for (see `restore_text`).

    What comes from the command line is text: a question may hold `${price}`, a directory may be called `${x}`. Only
    Hydra's own settings keep its syntax.
    """
    key = override.partition("=")[0].lstrip("+~")
    if key == "hydra" or key.startswith(("hydra.", "hydra/")):
        return override
    return INTERPOLATION.sub(lambda match: f"{PROTECTED}{match[0].encode('utf-8', 'surrogateescape').hex()}_", override)


def restore_text(value: Any) -> Any:
    """Return the value, or a dataclass, list or mapping of values, with the text that `protect_text` was given."""
    if isinstance(value, str):
        return RESTORED.sub(lambda match: bytes.fromhex(match[1]).decode("utf-8", "surrogateescape"), value)
    if isinstance(value, list):
        return [restore_text(item) for item in value]
    if isinstance(value, dict):
        return {restore_text(key): restore_text(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {field.name: restore_text(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **changed)
    return value
