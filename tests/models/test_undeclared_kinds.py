"""Five kinds that are declared nowhere, from the profile to the exported model, by the map that is found in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.kind_checks import CHECKS, KindCase
from tests.helpers.tiny import make_tiny
from tests.helpers.tiny_undeclared import UNDECLARED

QUICK = ("roformer", "bloom")
KINDS = [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in UNDECLARED]
NOT_COUNTED = {"gpt_neox": "operations"}
"""GPT-NeoX computes attention and feed-forward side by side, and the count takes one after the other."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_check_of_declared_kinds_holds(kind: str, tmp_path: Path, glue_dir: Path) -> None:
    (tmp_path / "work").mkdir()
    case = KindCase(kind, make_tiny(kind, tmp_path / "model"), glue_dir, tmp_path / "work")
    failed = {}
    for name, check in CHECKS.items():
        if NOT_COUNTED.get(kind) == name:
            continue
        try:
            check(case)
        except AssertionError as error:
            failed[name] = str(error)[:300]
    assert failed == {}
