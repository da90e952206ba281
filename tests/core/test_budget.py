from __future__ import annotations

import re
import subprocess
import sys
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gelora_cli.core.artifacts.model_map import BlockMap, LinearShape, ModelMap
from gelora_cli.core.budget import Budget, max_ranks, parse_budget, unit_costs
from gelora_cli.core.errors import GeloraError

ROLES = ("query", "key", "value", "output")


def encoder(blocks: int, hidden: int, feed_forward: int, backbone_params: int) -> ModelMap:
    def block(index: int) -> BlockMap:
        sides = [(role, hidden, hidden) for role in ROLES] + [
            ("up", hidden, feed_forward),
            ("down", feed_forward, hidden),
        ]
        linears = tuple(LinearShape(f"layer.{index - 1}.{role}", role, n, m) for role, n, m in sides)
        return BlockMap(index, f"layer.{index - 1}", linears)

    return ModelMap("bert", tuple(block(i) for i in range(1, blocks + 1)), ("classifier",), 770, backbone_params)


MINILM = encoder(6, 384, 1536, 22_713_216)
DEBERTA = encoder(12, 768, 3072, 183_831_552)


@pytest.mark.parametrize(
    ("value", "budget", "name"),
    [
        ("0.3M", Budget("params", 300_000), "0.3M"),
        (300_000, Budget("params", 300_000), "0.3M"),
        (3e5, Budget("params", 300_000), "0.3M"),
        ("3e5", Budget("params", 300_000), "0.3M"),
        (" 0.30m ", Budget("params", 300_000), "0.3M"),
        ("12K", Budget("params", 12_000), "0.012M"),
        (331_776, Budget("params", 331_776), "0.331776M"),
        (1, Budget("params", 1), "0.000001M"),
        ("100M", Budget("params", 100_000_000), "100M"),
        ("0.16%", Budget("percent", Decimal("0.16")), "0.16pct"),
        ("0.160%", Budget("percent", Decimal("0.16")), "0.16pct"),
        ("0.16pct", Budget("percent", Decimal("0.16")), "0.16pct"),
        ("100%", Budget("percent", Decimal(100)), "100pct"),
        ("rank:4", Budget("rank", 4), "rank4"),
        ("rank4", Budget("rank", 4), "rank4"),
        ("auto", Budget("auto", 0), "auto"),
        ("AUTO", Budget("auto", 0), "auto"),
    ],
)
def test_spellings_and_their_canonical_name(value: str | int | float, budget: Budget, name: str) -> None:
    assert parse_budget(value) == budget
    assert parse_budget(value).name == name


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("large", "none of the accepted forms"),
        ("", "none of the accepted forms"),
        ("0,3M", "none of the accepted forms"),
        ("1_000", "none of the accepted forms"),
        ("rank:", "none of the accepted forms"),
        ("٣", "none of the accepted forms"),
        (float("nan"), "none of the accepted forms"),
        (float("inf"), "none of the accepted forms"),
        (True, "none of the accepted forms"),
        ("9" * 5000, "none of the accepted forms"),
        (0, "above zero"),
        ("-0.3M", "above zero"),
        ("0%", "above zero"),
        ("rank:0", "above zero"),
        ("rank:-1", "above zero"),
        ("100.01%", "more than 100 %"),
        (0.3, "for 0.3 million write 0.3M"),
        ("0.0000003M", "not a whole number of parameters"),
        ("rank:2.5", "not a whole number of units"),
        ("1e999999999", "too large"),
        ("1e-999999999%", "too small"),
        ("0.12345678901234567%", "too long"),
    ],
)
def test_refusals_say_what_was_given_why_and_what_is_accepted(value: str | float, reason: str) -> None:
    with pytest.raises(GeloraError, match=re.escape(reason)) as caught:
        parse_budget(value)
    message = str(caught.value)
    assert message.startswith(f"budget={str(value).strip()[:40]}")
    assert all(form in message for form in ("0.3M", "12K", "300000", "3e5", "0.16%", "rank:4", "auto"))
    assert len(message) < 400


@settings(deadline=None)
@given(
    st.one_of(
        st.integers(1, 10**12).map(str),
        st.integers(1, 10**9).map(lambda n: f"{n}K"),
        st.integers(1, 10**14).map(lambda n: f"{Decimal(n).scaleb(-12):f}%"),
        st.integers(1, 10**5).map(lambda n: f"rank:{n}"),
    )
)
def test_the_name_is_safe_in_a_path_and_read_back_as_the_same_budget(text: str) -> None:
    budget = parse_budget(text)
    assert re.fullmatch(r"[0-9.]+(M|pct)|rank[0-9]+", budget.name)
    assert parse_budget(budget.name) == budget
    assert parse_budget(budget.name).name == budget.name


def test_what_a_unit_of_rank_costs_and_how_many_there_can_be() -> None:
    assert sum(unit_costs(DEBERTA, "attention")) == 73_728
    assert sum(unit_costs(MINILM, "attention")) == 18_432
    assert unit_costs(MINILM, "all") == (4 * 768 + 2 * 1920,) * 6
    assert max_ranks(MINILM, "all") == (384,) * 6


def test_bounds_in_parameters() -> None:
    assert parse_budget("0.3M").params(MINILM, "attention") == 300_000
    assert parse_budget("0.16%").params(MINILM, "attention") == 36_341  # 36341.1456
    assert parse_budget("0.15%").params(MINILM, "attention") == 34_069  # 34069.824
    assert parse_budget("100%").params(MINILM, "attention") == 22_713_216
    assert parse_budget("rank:4").params(DEBERTA, "attention") == 294_912
    assert parse_budget("rank:2").params(DEBERTA, "all") == 2 * 12 * (4 * 1536 + 2 * 3840)
    assert parse_budget("auto").params(MINILM, "attention") is None


def test_percent_is_exact_where_floats_are_not() -> None:
    # 0.57 * 10000 is 5699.999... in binary floating point.
    assert parse_budget("0.57%").params(encoder(1, 8, 16, 10_000), "attention") == 57


def test_a_uniform_rank_above_the_smallest_side_is_refused() -> None:
    assert parse_budget("rank:384").params(MINILM, "attention") == 384 * 18_432
    with pytest.raises(GeloraError, match="rank:384 or less"):
        parse_budget("rank:385").params(MINILM, "attention")


def test_modules_must_be_known_and_present() -> None:
    with pytest.raises(GeloraError, match="attention or all"):
        unit_costs(MINILM, "mlp")
    only_up = BlockMap(2, "layer.1", (LinearShape("layer.1.up", "up", 8, 16),))
    with pytest.raises(GeloraError, match="in block 2"):
        unit_costs(ModelMap("bert", (MINILM.blocks[0], only_up), (), 0, 1000), "attention")


def test_importing_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, gelora_cli.core.budget; print({'torch', 'numpy', 'hydra'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
