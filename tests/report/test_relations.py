"""What no contrast answers: agreement and gain, and the cost of allocating."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gelora_cli.core.artifacts.plan import PlanStability, RankPlan
from gelora_cli.core.artifacts.result import RunCosts, RunResult
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.done import mark_done
from gelora_cli.report.groups import group_rows
from gelora_cli.report.relations import PlanGain, plan_gains, relate, signal_costs
from gelora_cli.report.rows import make_rows
from gelora_cli.report.runs import collect
from gelora_cli.report.significance import compare_groups
from tests.helpers.report_runs import write_whole


def write_planned(root: Path, method: str, seed: int, right: int, agreement: float | None) -> None:
    """Write a run whose plan agrees so much with itself, and whose signal took a tenth of the training."""
    directory = write_whole(root, method, seed, right)
    plan = read_artifact(RankPlan, directory / RankPlan.FILE)
    if agreement is not None:
        stability = PlanStability("stable", agreement, 0.9, plan.ranks, plan.ranks, (0.0,) * len(plan.ranks))
        plan = replace(plan, stability=stability)
    write_artifact(plan, directory)
    result = read_artifact(RunResult, directory / RunResult.FILE)
    costs = RunCosts(0 if agreement is None else 100, 0, 1000, 50, True, 8)
    write_artifact(replace(result, costs=costs, profile_seconds=0.3, attach_seconds=0.1, train_seconds=4.0), directory)
    mark_done(directory)


def test_plans_have_an_agreement_a_gain_and_a_cost(tmp_path: Path) -> None:
    agreements = {"lora": None, "gelora": 0.95, "fisher": 0.6}
    for number, (method, agreement) in enumerate(agreements.items()):
        for seed in range(3):
            write_planned(tmp_path, method, seed, 20 + 4 * number, agreement)
    groups = group_rows(make_rows(collect([tmp_path]).runs))
    gains = plan_gains(groups, compare_groups(groups)[0])
    assert [gain.method for gain in gains] == ["gelora", "fisher"]
    assert [gain.agreement for gain in gains] == pytest.approx([0.95, 0.6])
    assert [gain.verdict for gain in gains] == ["stable", "stable"]
    assert [gain.gain for gain in gains] == pytest.approx([10.0, 20.0])
    assert gains[1].low is not None and gains[1].low < 20 < (gains[1].high or 0)
    assert relate(gains) is None
    costs = signal_costs(groups)
    assert {cost.method for cost in costs} == {"gelora", "fisher"}
    assert costs[0].flops == 0.1 and costs[0].seconds == pytest.approx(0.1)


def make_gains(shift: float, gains: list[float], agreements: list[float], task: str) -> list[PlanGain]:
    return [
        PlanGain(task=task, method=f"m{number}", agreement=agreement, gain=gain + shift)
        for number, (gain, agreement) in enumerate(zip(gains, agreements, strict=True))
    ]


def test_a_relation_within_tasks_is_seen_and_one_between_tasks_is_not() -> None:
    ordered = [0.1, 0.2, 0.3, 0.4, 0.5]
    same = relate(make_gains(0, ordered, ordered, "a") + make_gains(-9, ordered, ordered, "b"))
    assert same is not None and same.rho == pytest.approx(1) and (same.count, same.methods) == (10, 5)
    assert same.p == pytest.approx(2 / 120, abs=0.005)  # of five methods, however many tasks they have
    opposite = relate(make_gains(0, ordered, ordered[::-1], "a"))
    assert (
        opposite is not None and opposite.rho == pytest.approx(-1) and opposite.p == pytest.approx(2 / 120, abs=0.005)
    )
    mixed = [0.3, 0.1, 0.5, 0.2, 0.4]
    higher = [1 + value for value in reversed(mixed)]
    unrelated = make_gains(0, ordered, mixed, "a") + make_gains(50, ordered, higher, "b")
    easy_task = relate(unrelated)
    assert easy_task is not None and abs(easy_task.rho) < 0.1 and easy_task.p > 0.5
    assert relate(make_gains(0, ordered, [0.5] * 5, "a")) is None
    # A larger budget, at which all gain more and all agree more, is no relation either.
    large = [replace(gain, board="0.3M") for gain in make_gains(50, ordered, higher, "a")]
    by_budget = relate(make_gains(0, ordered, mixed, "a") + large)
    assert by_budget is not None and by_budget.rho == pytest.approx(easy_task.rho)


def test_no_relation_is_seen_in_noise_more_often_than_allowed() -> None:
    # Each method has an agreement and a gain of its own on all tasks, which have nothing to do with each other.
    generator, seen = np.random.default_rng(0), 0
    for _ in range(100):
        gains = []
        gain, agreement = generator.normal(size=6), generator.normal(size=6)
        for task in "abc":
            noise = generator.normal(size=(2, 6)) / 2
            gains += make_gains(0, (gain + noise[0]).tolist(), (agreement + noise[1]).tolist(), task)
        relation = relate(gains)
        assert relation is not None
        seen += relation.p < 0.05
    assert seen <= 11  # 5 expected; more than 11 in 1 of 100 such tests
