"""Plans as other trainers take them: the exact text of each form, odd names, and what a trainer would refuse."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from gelora_cli.allocation.peft_pattern import rank_pattern_json
from gelora_cli.allocation.serving import describe_vllm_rank, serving_warnings, smallest_vllm_rank
from gelora_cli.allocation.trainer_patterns import AXOLOTL_KEYS, FORMATS
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import VARIANTS
from tests.helpers.plans import PLAN

ODD = "layer.0.\"'\\n: {x}#\u2028\U0001f600 - &a *b !!python/object"
"""What would end a quote, a line or a comment, or means something to YAML."""


def plan(*names: str, ranks: tuple[int, ...] = (1, 3), **changes: Any) -> RankPlan:
    """Return a plan of one module in each of two blocks."""
    rows = []
    for row, name, rank in zip(PLAN.blocks[:2], names or ("h.0.q", "h.1.q"), ranks, strict=True):
        rows.append(replace(row, modules=(name,), rank=rank))
    return replace(replace(PLAN, blocks=tuple(rows), scaling=4.0), **changes)


def arguments_in(text: str) -> dict[str, Any]:
    """Return the arguments of the call in a Python file, without running it."""
    docstring, imported, assigned = ast.parse(text).body
    assert isinstance(docstring, ast.Expr) and isinstance(imported, ast.ImportFrom) and isinstance(assigned, ast.Assign)
    assert (ast.unparse(imported), ast.unparse(assigned.targets[0])) == ("from peft import LoraConfig", "peft_config")
    call = assigned.value
    assert isinstance(call, ast.Call)
    return {str(entry.arg): ast.literal_eval(entry.value) for entry in call.keywords}


def test_the_text_for_axolotl() -> None:
    assert (
        FORMATS["axolotl"].text(plan())
        == """\
# Ranks planned by gelora, with the keys of axolotl 0.19.0: merge them into your configuration.
adapter: lora
lora_r: 3
lora_alpha: 12
lora_target_modules:
- h.0.q
- h.1.q
lora_rank_pattern:
  h\\.0\\.q: 1
  h\\.1\\.q: 3
lora_alpha_pattern:
  h\\.0\\.q: 4
  h\\.1\\.q: 12
"""
    )


def test_the_text_for_trl() -> None:
    assert (
        FORMATS["trl"].text(plan())
        == """\
\"\"\"Ranks planned by gelora, for the trainers of TRL: SFTTrainer(..., peft_config=peft_config).\"\"\"

from peft import LoraConfig

peft_config = LoraConfig(
    task_type='CAUSAL_LM',
    r=3,
    lora_alpha=12,
    target_modules=[
        'h.0.q',
        'h.1.q',
    ],
    rank_pattern={
        'h\\\\.0\\\\.q': 1,
        'h\\\\.1\\\\.q': 3,
    },
    alpha_pattern={
        'h\\\\.0\\\\.q': 4,
        'h\\\\.1\\\\.q': 12,
    },
)
"""
    )


@pytest.mark.parametrize("names", [("h.0.q", "h.1.q"), (ODD, "yes"), ("null", "1.0")])
def test_every_form_says_what_peft_gets(names: tuple[str, str]) -> None:
    # No name ends a string early, becomes another type, or adds a key.
    made = plan(*names)
    expected = rank_pattern_json(made)
    assert json.loads(FORMATS["peft"].text(made)) == expected
    assert arguments_in(FORMATS["trl"].text(made)) == {"task_type": "CAUSAL_LM"} | expected
    keys = {"adapter": "lora"} | {AXOLOTL_KEYS[name]: value for name, value in expected.items()}
    assert yaml.safe_load(FORMATS["axolotl"].text(made)) == keys


@pytest.mark.parametrize("variant", VARIANTS.names())
def test_every_variant_has_its_keys_or_is_refused(variant: str) -> None:
    made = plan(variant=variant)
    values = yaml.safe_load(FORMATS["axolotl"].text(made))
    assert values.get("peft_use_dora") is (True if variant == "dora" else None)
    assert arguments_in(FORMATS["trl"].text(made)) == {"task_type": "CAUSAL_LM"} | rank_pattern_json(made)


def test_axolotl_takes_whole_alphas_only() -> None:
    # Its schema refuses fractions, and a rounded alpha would be another scaling.
    with pytest.raises(GeloraError, match=r"axolotl 0\.19\.0 takes whole alphas only.* such as 0\.6; take a whole"):
        FORMATS["axolotl"].text(plan(scaling=0.3, ranks=(2, 3)))
    first, second = plan().blocks
    uneven = replace(plan(), blocks=(replace(first, module_scalings=(5.65,)), second))
    with pytest.raises(GeloraError, match=r"such as 5\.65"):
        FORMATS["axolotl"].text(uneven)
    assert arguments_in(FORMATS["trl"].text(uneven))["alpha_pattern"] == {r"h\.0\.q": 5.65, r"h\.1\.q": 12}


def test_axolotl_without_a_key_for_a_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VARIANTS.get("lora"), "peft_arguments", {"init_lora_weights": "other"}, raising=False)
    with pytest.raises(GeloraError, match="has no key for init_lora_weights"):
        FORMATS["axolotl"].text(plan())


@pytest.mark.parametrize(("largest", "needed"), [(1, 1), (2, 8), (8, 8), (9, 16), (257, 320), (512, 512), (513, None)])
def test_the_rank_that_vllm_needs(largest: int, needed: int | None) -> None:
    assert smallest_vllm_rank(largest) == needed
    text = "vLLM accepts no max_lora_rank above 512: merge the adapter"
    assert describe_vllm_rank(largest) == (f"vLLM: max_lora_rank={needed}" if needed else text)


def test_what_goes_wrong_where_it_is_served() -> None:
    assert serving_warnings(plan()) == ()
    first, second = plan().blocks
    uneven = replace(plan(variant="dora"), blocks=(replace(first, module_scalings=(5.0,)), second))
    scaling, dora = serving_warnings(uneven)
    assert "0.30.0 and 0.24.0 scale every module by lora_alpha / r" in scaling
    assert "refuses DoRA" in dora
