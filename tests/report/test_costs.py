"""What a report says of the costs of rows, beside rows whose runs are older than their record."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from gelora_cli.core.artifacts.result import RunCosts
from gelora_cli.core.registries import REPORT_PICTURES
from gelora_cli.plots.report_costs import front, side_by_side
from gelora_cli.plots.report_values import LEAST_GAP_BESIDE_NAMES, parameter_ticks
from gelora_cli.report.formats import csv_text
from gelora_cli.report.rows import Row
from gelora_cli.report.runs import read_run
from gelora_cli.report.tables import COLUMNS, NONE, NOT_RECORDED, result_tables
from tests.helpers.written_runs import write_run

TITLES = ("allocation, TFLOP", "training, TFLOP", "parameters at inference", "merges", "largest rank")
COSTS = RunCosts(
    signal_flops=2 * 10**12,
    attach_flops=10**12,
    training_flops=456 * 10**12,
    inference_params=5000,
    mergeable=True,
    largest_rank=7,
)


def make_row(root: Path, method: str, *costs: RunCosts | None, value: float = 0.5) -> Row:
    runs = []
    for seed, cost in enumerate(costs):
        run = read_run(write_run(root, method, seed, value + seed / 100))
        runs.append(replace(run, result=replace(run.result, costs=cost)))
    return Row(runs[0].key, method, tuple(runs))


def cells(row: Row, *others: Row) -> list[str]:
    (table,) = result_tables([row, *others])
    return [table.lines[0][table.titles.index(title)] for title in TITLES]


def test_costs_are_columns(tmp_path: Path) -> None:
    later = replace(COSTS, training_flops=458 * 10**12, largest_rank=9, inference_params=4000)
    measured = make_row(tmp_path, "gelora", COSTS, later)
    assert cells(measured) == ["3", "457", "5,000", "yes", "9"]
    uniform = make_row(tmp_path, "lora", COSTS)
    assert cells(uniform)[0] == "1", "uniform ranks follow no signal"
    bottleneck = make_row(tmp_path, "houlsby", replace(COSTS, largest_rank=None, mergeable=False, signal_flops=None))
    assert cells(bottleneck, measured) == [NOT_RECORDED, "456", "5,000", "no", NONE]
    assert ",3,457,5000,yes,9," in csv_text([measured])
    assert ",,456,5000,no,," in csv_text([bottleneck]), "what has no value is empty"


def test_an_older_run_says_that_its_costs_are_not_recorded(tmp_path: Path) -> None:
    old, new = make_row(tmp_path, "sora", None), make_row(tmp_path, "gelora", COSTS)
    assert cells(old, new) == [NOT_RECORDED] * len(TITLES)
    assert cells(make_row(tmp_path, "eva", COSTS, None), new) == [NOT_RECORDED] * len(TITLES)
    (table,) = result_tables([old])
    assert not set(TITLES) & set(table.titles), "nothing is known of any row"
    assert not list(REPORT_PICTURES.get("cost").draw([old, new])), "one row is no comparison"
    assert {column.title for column in COLUMNS} >= set(TITLES)


def test_a_front_holds_what_nothing_cheaper_beats() -> None:
    assert front([(2, 0.5), (1, 0.4), (3, 0.5), (2, 0.6), (4, 0.7), (5, 0.1)]) == [(1, 0.4), (2, 0.6), (4, 0.7)]


def test_rows_of_equal_cost_stand_side_by_side_and_others_where_they_are() -> None:
    places = side_by_side({1: 10.0, 2: 10.0, 3: 12.0}, 5.0, 50.0)
    assert places[1] < 10 < places[2] < places[3] == 12
    assert places[1] * places[2] == pytest.approx(100)


def test_a_picture_has_a_panel_for_every_cost(tmp_path: Path) -> None:
    cheap = replace(COSTS, inference_params=0, largest_rank=None, training_flops=10**11)
    rows = [make_row(tmp_path, "gelora", COSTS, COSTS), make_row(tmp_path, "bitfit", cheap, value=0.4)]
    (picture,) = REPORT_PICTURES.get("cost").draw(rows)
    panels = {axis.get_xlabel(): axis for axis in picture.figure.axes if axis.get_visible()}
    assert len(panels) == 5, "one row alone has a largest rank"
    inference = panels["parameters at inference, unmerged"]
    assert inference.get_xticklabels()[0].get_text() == "0"
    (line,) = [
        line for line in panels["allocation and training, TFLOP"].get_lines() if "front" in str(line.get_label())
    ]
    assert np.asarray(line.get_ydata()).round(3).tolist() == [0.4, 0.505, 0.505]
    assert picture.png()


def test_a_legend_of_long_names_covers_no_panel_wherever_they_stand(tmp_path: Path) -> None:
    long = f"({', '.join('profile.max_examples=10000' for _ in range(4))})"
    names = ("lora", "adalora", f"gelora {long}", f"sora {long}")
    made = {name: make_row(tmp_path, name.partition(" ")[0], COSTS, COSTS) for name in names}
    for ordered in permutations(names):
        rows = [replace(made[name], name=name) for name in ordered]
        (picture,) = REPORT_PICTURES.get("cost").draw(rows)
        FigureCanvasAgg(picture.figure).draw()  # type: ignore[no-untyped-call]
        (legend,) = picture.figure.legends
        panels = [axis.get_window_extent() for axis in picture.figure.axes if axis.get_visible()]
        lowest = min(text.get_window_extent().y0 for text in legend.get_texts())
        assert lowest > max(panel.y1 for panel in panels), ordered


def test_ticks_stand_apart_and_there_is_one_at_least() -> None:
    for low, high in ((15_000, 60_000), (15_000, 400_000), (1_000, 3_000_000), (20_000, 29_000)):
        ticks = parameter_ticks(low, high, LEAST_GAP_BESIDE_NAMES)
        gaps = np.diff(np.log(ticks)) / np.log(high / low)
        assert 1 <= len(ticks) <= 4 and (gaps >= LEAST_GAP_BESIDE_NAMES - 1e-9).all(), ticks


def test_short_trials_have_pictures_of_their_own(tmp_path: Path) -> None:
    rows = [make_row(tmp_path, method, COSTS) for method in ("gelora", "lora", "sora")]
    trial = rows[2].runs[0]
    smoke = replace(rows[2], runs=(replace(trial, result=replace(trial.result, smoke=True)),))
    (costs,) = REPORT_PICTURES.get("cost").draw([*rows[:2], smoke])
    assert {tip.partition(":")[0] for tip in costs.tips.values()} == {"gelora", "lora"}
    values, of_trials = REPORT_PICTURES.get("value").draw([*rows[:2], smoke])
    assert "[smoke]" not in values.title and of_trials.title.endswith("[smoke]")
