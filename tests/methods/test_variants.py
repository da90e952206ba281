"""Variants of LoRA's update: the same checks for each, and what is its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.variant_matrix import VARIANTS, check_variant


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_keeps_its_plan_starts_at_the_base_and_comes_back(
    tiny_models: dict[str, Path], tmp_path: Path, variant: str
) -> None:
    check_variant(tiny_models["deberta-v2"], "deberta-v2", variant, tmp_path)
