"""`curve.png` shows the run's own losses and evaluations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.registries import RUN_PICTURES
from gelora_cli.plots.base import RunData
from gelora_cli.plots.report_curves import MOST_POINTS
from gelora_cli.plots.run_curve import curve_figure
from gelora_cli.plots.style import figure_bytes
from tests.helpers.report_runs import write_whole

Line = dict[str, Any]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    directory = write_whole(tmp_path_factory.mktemp("runs"), "gelora", 0, 30)
    read = read_artifact(RunResult, directory / RunResult.FILE)
    return replace(read, train=replace(read.train, selected_epoch=1))


def loss_lines(count: int) -> list[Line]:
    return [{"step": step, "epoch": 1, "loss": 1 / step} for step in range(1, count + 1)]


def evaluation(result: RunResult, step: int, epoch: int, value: float) -> Line:
    return {"step": step, "epoch": epoch, "split": result.results[0].split, result.reported: value, "loss": 9.0}


def drawn(axis: Axes, label: str) -> list[tuple[float, float]]:
    (line,) = [line for line in axis.get_lines() if line.get_label() == label]
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]


def test_losses_above_and_evaluations_below_with_a_ring_around_the_saved_weights(result: RunResult) -> None:
    lines = [*loss_lines(3), evaluation(result, 3, 1, 0.7), evaluation(result, 6, 2, 0.6)]
    top, bottom = curve_figure(lines, result).axes
    assert drawn(top, "training loss") == [(1, 1), (2, 1 / 2), (3, 1 / 3)]
    assert drawn(bottom, result.results[0].split) == [(3, 0.7), (6, 0.6)]
    assert drawn(bottom, "saved weights") == [(3, 0.7)]
    assert bottom.get_ylabel() == result.reported.replace("_", " ")


def test_a_single_logged_point_has_a_marker(result: RunResult) -> None:
    (axis,) = curve_figure(loss_lines(1), result).axes
    (line,) = [line for line in axis.get_lines() if line.get_label() == "training loss"]
    assert line.get_marker() == "o" and line.get_markevery() is None


def test_a_long_training_has_the_means_over_neighbouring_steps(result: RunResult) -> None:
    (axis,) = curve_figure(loss_lines(600), result).axes
    assert len(drawn(axis, "as logged")) == 600
    assert len(drawn(axis, "mean over neighbouring steps")) <= MOST_POINTS


def test_no_picture_without_a_loss(result: RunResult) -> None:
    picture = RUN_PICTURES.get("curve")
    assert picture.draw(RunData(result=result, metrics=[evaluation(result, 3, 1, 0.7)])) is None
    assert picture.draw(RunData(metrics=loss_lines(3))) is None


def test_equal_runs_give_equal_bytes(result: RunResult) -> None:
    first, second = (figure_bytes(curve_figure(loss_lines(3), result), "png") for _ in range(2))
    assert first == second
