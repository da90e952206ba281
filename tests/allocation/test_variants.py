"""What a variant of LoRA changes in a plan: fixed costs, scalings, and PEFT's arguments."""

from __future__ import annotations

import math

import pytest

from gelora_cli.allocation.formatting import format_plan
from gelora_cli.allocation.peft_pattern import rank_pattern_json
from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.errors import GeloraError
from tests.helpers.rank_profiles import MINILM

WIDTH, BLOCKS = 384, 6
MAGNITUDES = 4 * WIDTH * BLOCKS  # one per output of query, key, value and output
UNIT = 8 * WIDTH * BLOCKS  # one unit of rank in every block


def plan(variant: str, budget: str, method: str = "gelora") -> RankPlan:
    return plan_ranks(MINILM, parse_budget(budget), method=method, variant=variant)


def test_magnitudes_are_paid_before_units_are_shared_out() -> None:
    dora, lora = plan("dora", "rank:5"), plan("lora", "rank:5")
    assert (dora.budget_params, dora.fixed_params) == (lora.budget_params, MAGNITUDES) == (5 * UNIT, MAGNITUDES)
    assert dora.adapter_params == sum(row.params for row in dora.blocks) <= 5 * UNIT
    # Its ranks are those of plain LoRA under what the magnitudes leave.
    smaller = plan("lora", str(5 * UNIT - MAGNITUDES))
    assert dora.ranks == smaller.ranks
    assert dora.adapter_params == smaller.adapter_params + MAGNITUDES == dora.trained_params


def test_auto_keeps_the_ranks_and_adds_the_magnitudes() -> None:
    dora, lora = plan("dora", "auto"), plan("lora", "auto")
    assert dora.ranks == lora.ranks
    assert dora.adapter_params == dora.auto_params == lora.adapter_params + MAGNITUDES
    uniform = plan("dora", "auto", method="lora")  # its bound is what GeLoRA's ranks cost with this variant
    assert lora.auto_params - UNIT < uniform.adapter_params - MAGNITUDES <= lora.auto_params


def test_a_budget_below_the_magnitudes_names_the_smallest() -> None:
    with pytest.raises(GeloraError, match=f"{MAGNITUDES:,} are what method.variant=dora") as raised:
        plan("dora", "rank:1", method="lora")
    smallest = UNIT + MAGNITUDES
    assert f"the smallest possible is budget={smallest}" in str(raised.value)
    assert plan("dora", str(smallest), method="lora").ranks == (1,) * BLOCKS
    with pytest.raises(GeloraError):
        plan("dora", str(smallest - 1), method="lora")


def test_rslora_scales_by_the_root_of_the_rank_from_the_uniform_plan() -> None:
    rslora, lora = plan("rslora", "rank:5"), plan("lora", "rank:5")
    assert rslora.ranks == lora.ranks and len(set(lora.ranks)) > 1
    uniform = rslora.uniform_ranks[0]
    for row in rslora.blocks:
        for name in row.modules:
            assert rslora.scaling_pattern[name] == 32.0 * math.sqrt(uniform / row.rank)
    pattern = rank_pattern_json(rslora)
    assert "use_rslora" not in pattern
    assert [*pattern["alpha_pattern"].values()] == pytest.approx(
        [rank * rslora.scaling_pattern[name] for name, rank in rslora.rank_pattern.items()]
    )


def test_rslora_leaves_a_uniform_plan_as_it_is() -> None:
    rslora, lora = plan("rslora", "rank:5", method="lora"), plan("lora", "rank:5", method="lora")
    assert rslora.blocks == lora.blocks  # no scalings of their own
    assert rank_pattern_json(rslora) == rank_pattern_json(lora)


def test_a_plan_says_its_variant() -> None:
    assert "variant" not in format_plan(plan("lora", "rank:5"))
    dora = format_plan(plan("dora", "rank:5"))
    assert "variant dora: " in dora and f"fixed parameters: {MAGNITUDES:,} of the " in dora
    rslora = plan("rslora", "rank:5")
    first = rslora.scaling_pattern[rslora.blocks[0].modules[0]]
    assert f"alpha / r, block 1 to {BLOCKS}: {first:.4g}, " in format_plan(rslora)
    assert rank_pattern_json(plan("dora", "rank:5"))["use_dora"] is True


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(GeloraError, match="variant=dara given; accepted: lora, rslora, dora"):
        plan("dara", "rank:5")
