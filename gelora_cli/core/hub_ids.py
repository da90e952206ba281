"""Tell the id of a repository on the hub from a path on this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

_OWNED = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_ONE_WORD = re.compile(r"\w[\w.-]*", re.ASCII)


def is_hub_id(text: str, *, one_word: bool = False) -> bool:
    """Return whether what a user gave is `owner/name` on the hub, rather than a path on this machine.

    What is here is a path. So is what would lie in a directory that is here: its name is mistyped.

    Args:
        text: what the user gave.
        one_word: whether the hub's oldest ids are accepted, too, which are a plain `name`.
    """
    path = Path(text)
    # The methods of Path raise an error for some names, such as one of 300 characters.
    if os.path.exists(path):  # noqa: PTH110
        return False
    if _OWNED.fullmatch(text):
        return not os.path.isdir(path.parent)  # noqa: PTH112
    return one_word and bool(_ONE_WORD.fullmatch(text))
