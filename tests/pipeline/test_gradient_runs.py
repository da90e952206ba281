"""Runs whose ranks come from gradients."""

from __future__ import annotations

from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.codec import read_artifact
from tests.helpers.bench import Bench, result_of
from tests.helpers.metric_lines import without_times


def test_a_run_that_measures_gradients_trains_as_one_that_finds_them(bench: Bench) -> None:
    words = ["task=cola", "method=fisher", "budget=2500", "data.max_train_examples=32"]
    assert bench.run(*words) == 0
    directory = bench.only()
    lines, plan = without_times(directory), read_artifact(RankPlan, directory / RankPlan.FILE)
    assert not result_of(directory).profile_reused
    assert len(set(plan.ranks)) > 1
    assert bench.run(*words, "force=true") == 0
    assert result_of(directory).profile_reused
    assert without_times(directory) == lines
    assert read_artifact(RankPlan, directory / RankPlan.FILE).rank_pattern == plan.rank_pattern
    assert not list(bench.root.rglob("states"))
