"""Averages over tasks and their fronts are those of the rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gelora_cli.core.artifacts.result import RunCosts
from gelora_cli.core.registries import REPORT_PICTURES
from gelora_cli.plots.base import Picture
from gelora_cli.plots.pareto import average_methods
from gelora_cli.report.rows import Row, make_rows
from gelora_cli.report.runs import Run, collect
from tests.helpers.report_runs import write_whole

METHODS = ("gelora", "lora", "sora")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Return runs of three methods and two seeds, as if on three tasks, worth 0, 1 and 2 points more."""
    root = tmp_path_factory.mktemp("runs")
    for number, method in enumerate(METHODS):
        for seed in (0, 1):
            write_whole(root, method, seed, 30 + number + 2 * seed)
    found = []
    for run in collect([root]).runs:
        for number, task in enumerate(("cola", "mrpc", "rte")):
            found.append(replace(run, result=replace(run.result, task=task, value=run.result.value + number / 100)))
    return found


def draw(rows: list[Row]) -> list[Picture]:
    return list(REPORT_PICTURES.get("pareto").draw(rows))


def test_each_task_counts_once_and_the_spread_is_that_of_the_seeds(runs: list[Run]) -> None:
    averages, left_out = average_methods(make_rows(runs))
    assert not left_out and [average.name for average in averages] == list(METHODS)
    for number, average in enumerate(averages):
        of_seeds = [100 * (30 + number + 2 * seed) / 40 + 1 for seed in (0, 1)]
        assert average.value == pytest.approx(np.mean(of_seeds))
        assert average.sd == pytest.approx(np.std(of_seeds, ddof=1))


def test_a_method_that_lacks_a_task_is_left_out_and_named(runs: list[Run]) -> None:
    rows = make_rows([run for run in runs if (run.result.task, run.result.method) != ("rte", "lora")])
    averages, left_out = average_methods(rows)
    assert [average.name for average in averages] == ["gelora", "sora"] and left_out == ["lora"]
    (picture,) = draw(rows)
    assert "left out: lora" in picture.caption
    assert not draw([row for row in make_rows(runs) if row.task == "rte"]), "one task is no average"


def test_a_row_of_several_methods_is_an_entry_for_each(runs: list[Run]) -> None:
    rows = make_rows(runs)
    gelora, lora = rows[0], rows[1]
    joined = replace(gelora, name="gelora = lora (r=2)", duplicates=lora.runs)
    assert joined.name_of_method == {"gelora": "gelora (r=2)", "lora": "lora (r=2)"}
    assert replace(gelora, name="another").name_of_method == {"gelora": "another"}


def test_the_picture_has_a_panel_for_each_cost_and_names_at_its_edge(runs: list[Run]) -> None:
    costs = RunCosts(10**12, 0, 10**13, 100, True, 2)
    rows = make_rows([replace(run, result=replace(run.result, costs=costs)) for run in runs])
    (picture,) = draw(rows)
    panels = picture.figure.axes
    assert [axis.get_xlabel().split()[0] for axis in panels] == ["parameters", "allocation", "allocation"]
    assert {text.get_text() for text in panels[-1].texts} == set(METHODS)
    assert "nearly equal costs stand side by side" in picture.caption
    assert all(axis.get_xscale() == "log" for axis in panels if axis.get_lines())
    assert any("gelora: " in tip and "3 tasks" in tip for tip in picture.tips.values())
    assert picture.png() == draw(rows)[0].png()


def test_a_cost_that_no_run_recorded_has_no_panel(runs: list[Run]) -> None:
    (picture,) = draw(make_rows(runs))
    assert [axis.get_xlabel().split()[-1] for axis in picture.figure.axes] == ["most", "tasks"]
    assert picture.caption.endswith("Not recorded: operations.")
