"""Allocators that read another signal than the idim: per block, per module, and where the signal is missing."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import pytest

from gelora_cli.allocation.base import Allocator
from gelora_cli.allocation.planning import plan_method
from gelora_cli.allocation.problem import AllocationProblem, Weights
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import ALLOCATORS, METHODS
from gelora_cli.methods.lora import PlannedLora
from tests.helpers.rank_profiles import MINILM, UNIT, units
from tests.helpers.registries import forget_entries_afterwards

MAP = MINILM.model_map  # six blocks with four linears each


@dataclass(frozen=True)
class Scores:
    values: tuple[float, ...]
    model_map: ModelMap = MAP
    seconds: float = 0.0

    FILE: ClassVar[str] = "signal-scores.json"


@pytest.fixture(autouse=True)
def entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register two methods whose allocators read scores, one per block and one per module."""
    forget_entries_afterwards(monkeypatch, ALLOCATORS)
    forget_entries_afterwards(monkeypatch, METHODS)

    class ByScore(Allocator[Scores]):
        name = "by_score"
        signal = "scores"

        def weigh(self, signal: Scores, problem: AllocationProblem) -> Weights:
            return Weights.proportional(signal.values)

    class ByModuleScore(ByScore):
        name = "by_module_score"
        granularity = "module"

    class ScoreLora(PlannedLora):
        name = "score_lora"
        allocator = "by_score"

    class ModuleScoreLora(PlannedLora):
        name = "module_score_lora"
        allocator = "by_module_score"

    for allocator in (ByScore, ByModuleScore):
        ALLOCATORS.register(allocator)
    for method in (ScoreLora, ModuleScoreLora):
        METHODS.register(method)


def test_ranks_follow_another_signal_and_the_plan_says_nothing_of_the_idim() -> None:
    plan = plan_method(MAP, {"scores": Scores((0.0, 0.0, 2.0, 0.0, 4.0, 0.0))}, units(12), method="score_lora")
    # From 1 1 1 1 1 1 the largest averages are 4/3, 4/5 (block 5), 2/3 (block 3), 4/7, 4/9 (block 5), 2/5 (block 3).
    assert plan.ranks == (1, 1, 3, 1, 5, 1)
    assert plan.adapter_params == 12 * UNIT == plan.budget_params
    assert plan.uniform_ranks == (2,) * 6
    assert (plan.auto_ranks, plan.gelora_ranks) == ((), ())
    assert {(row.idim_in, row.growth, row.lower_bound, row.rank_low) for row in plan.blocks} == {(None,) * 4}
    assert plan.note == "Weights: 0 0 2 0 4 0."


def test_equal_weights_are_the_uniform_plan_and_said() -> None:
    plan = plan_method(MAP, {"scores": Scores((0.0,) * 6)}, units(12), method="score_lora")
    assert plan.ranks == plan.uniform_ranks
    assert "method=lora trains the same" in plan.note


def test_an_allocator_may_rank_every_module_under_the_same_budget() -> None:
    values = [0.0] * 24
    values[5] = 1.0  # the key of block 2
    plan = plan_method(MAP, {"scores": Scores(tuple(values))}, units(8), method="module_score_lora")
    assert plan.adapter_params == 8 * UNIT
    assert plan.blocks[0].module_ranks == (1, 1, 1, 1)
    assert plan.blocks[1].module_ranks == (1, 9, 1, 1)
    assert (plan.blocks[1].rank, plan.blocks[1].params) == (9, 12 * UNIT // 4)
    assert plan.rank_pattern["encoder.layer.1.attention.self.key"] == 9


def test_what_is_missing_or_wrong_of_a_signal_is_said() -> None:
    with pytest.raises(GeloraError, match="method=score_lora needs the signal scores"):
        plan_method(MAP, {"idim": MINILM}, units(12), method="score_lora")
    with pytest.raises(GeloraError, match="needs a profile"):  # auto is what GeLoRA's own ranks cost
        plan_method(MAP, {"scores": Scores((1.0,) * 6)}, parse_budget("auto"), method="score_lora")
    for wrong, message in ((-1.0, "from 0 up"), (float("nan"), "finite")):
        with pytest.raises(GeloraError, match=message):
            plan_method(MAP, {"scores": Scores((1.0,) * 5 + (wrong,))}, units(12), method="score_lora")
    assumed = plan_method(MAP, {}, units(12), method="score_lora", assume_even=True)
    assert assumed.ranks == (2,) * 6


def test_auto_holds_another_signal_to_what_geloras_own_ranks_cost() -> None:
    scores = Scores((0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    plan = plan_method(MAP, {"scores": scores, "idim": MINILM}, parse_budget("auto"), method="score_lora")
    gelora = plan_method(MAP, {"idim": MINILM}, parse_budget("auto"))
    assert plan.adapter_params == gelora.adapter_params == plan.auto_params
    assert plan.ranks == (1, 1, 1, 1, 1, sum(gelora.ranks) - 5)


def test_weights_are_the_decimal_numbers_that_were_written() -> None:
    assert Weights.proportional([4.4, 0.1]).values == (Fraction(44, 10), Fraction(1, 10))


@pytest.mark.parametrize(
    ("hook", "value", "message"),
    [
        ("weigh", None, "gives None as weights; accepted: Weights with a value for each of the 6 targets"),
        ("weigh", Weights.proportional([1]), "gives Weights.* as weights; accepted"),
        ("allocate", None, "gives None as ranks; accepted: a tuple with a whole number for each of the 6 targets"),
        ("allocate", (1.5, 1, 1, 1, 1, 1), "gives .* as ranks; accepted"),
        ("allocate", (1, 1), "gives the ranks 1 1, which cost more"),
    ],
)
def test_what_an_allocator_gives_is_checked(
    hook: str, value: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(ALLOCATORS.get("by_score")), hook, lambda *_: value)
    with pytest.raises(GeloraError, match=f"the allocator by_score {message}"):
        plan_method(MAP, {"scores": Scores((1.0,) * 6)}, units(12), method="score_lora")
