"""A plan measured under a head for labels fits the same model as a causal language model, whatever the kind."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.allocation.trainer_patterns import FORMATS
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.load import load_model
from gelora_cli.models.locate import resolve_model
from tests.helpers.method_cases import HEAD, profile_of
from tests.helpers.tiny import ALL_KINDS, make_tiny

DECODERS = [kind for kind in ALL_KINDS if MODEL_KINDS.get(kind).is_decoder]


@pytest.mark.slow
@pytest.mark.parametrize("kind", DECODERS)
def test_the_names_are_those_of_a_language_model(kind: str, tmp_path: Path) -> None:
    from peft import get_peft_model
    from peft.tuners.lora import LoraLayer
    from transformers import AutoModelForCausalLM

    directory = make_tiny(kind, tmp_path / kind)
    loaded = load_model(resolve_model(hub=None, path=str(directory)), HEAD, seed=0)
    plan = plan_ranks(profile_of(loaded.map), parse_budget("auto"), modules="all")
    snippet = ModuleType("ranks")
    exec(FORMATS["trl"].text(plan), vars(snippet))
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(str(directory)), snippet.peft_config)
    layers: dict[str, Any] = {
        name: layer for name, layer in model.get_base_model().named_modules() if isinstance(layer, LoraLayer)
    }
    assert {name: layer.r["default"] for name, layer in layers.items()} == plan.rank_pattern
    assert {name: layer.scaling["default"] for name, layer in layers.items()} == pytest.approx(plan.scaling_pattern)
