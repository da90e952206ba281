"""Which row of a table is uniform LoRA, with which the others are compared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from gelora_cli.report.rows import Row
from gelora_cli.report.tables import is_reference


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lora", True),
        ("lora (train.epochs=3)", True),
        ("lora [smoke]", True),
        ("gelora = lora", True),
        ("gelora = lora [smoke]", True),
        ("gelora", False),
        ("adalora [smoke]", False),
    ],
)
def test_uniform_lora_is_the_reference(name: str, expected: bool) -> None:
    assert is_reference(cast("Row", SimpleNamespace(name=name))) is expected
